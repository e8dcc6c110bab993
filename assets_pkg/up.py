"""`lakehouse up`: build what is missing, serve UI and API, and stop all of it cleanly."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assets_pkg.home import ROOT
from assets_pkg.processes import Child, Service, port_is_free, stop_all
from lake.api import ExposedError, refuse_exposure
from lake.settings import Settings

_READY_SECONDS = 180
_POLL_SECONDS = 0.5


class UpError(RuntimeError):
    """`lakehouse up` cannot go on; the message says why in one sentence."""


def up(settings: Settings, with_mlflow: bool) -> None:
    """Build what is missing and serve until interrupted.

    Raises
    ------
    UpError : the API would be open to a network, another `lakehouse up` uses the home folder, a port is in use, or a
        server ends by itself.
    """
    # Started from make or a script, SIGINT may be ignored; children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        refuse_exposure(settings.host, settings.access)
    except ExposedError as error:
        raise UpError(str(error)) from error
    services = _services(settings, with_mlflow)
    with _only_one(settings):
        _check_ports(settings, with_mlflow)
        children: list[Child] = []
        try:
            complete = _materialize_missing()
            for service in services:  # one by one: those that have started must be known if the next one fails
                child = Child(service, _log(settings, service), ROOT)
                children.append(child)
            _wait_until_ready(children)
            _announce(settings, services, complete)
            _watch(children)
        except KeyboardInterrupt:
            print("\nStopping ...", flush=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them behind
            stop_all(children)
    print("Stopped.", flush=True)


def _services(settings: Settings, with_mlflow: bool) -> list[Service]:
    python, host = sys.executable, settings.ui_host
    dagster = ["-m", "dagster", "dev", "--workspace", str(ROOT / "workspace.yaml")]
    services = [
        Service("api", [python, "-m", "serving"], f"http://{settings.host}:{settings.api_port}", "/healthz"),
        Service(
            "dagster",
            [python, *dagster, "--host", host, "--port", str(settings.dagster_port)],
            f"http://{host}:{settings.dagster_port}",
            "/server_info",
        ),
    ]
    if with_mlflow:
        mlflow = ["-m", "mlflow", "ui", "--backend-store-uri", settings.mlflow_tracking_uri]
        mlflow += ["--host", host, "--port", str(settings.mlflow_port)]
        services.append(Service("mlflow", [python, *mlflow], f"http://{host}:{settings.mlflow_port}"))
    return services


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    path = settings.home / "up.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise UpError(
                f"Another `lakehouse up` (process {lock.read().strip()}) works in {settings.home}: "
                "stop it first, or set LAKEHOUSE_HOME to another folder."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _check_ports(settings: Settings, with_mlflow: bool) -> None:
    ports = {
        "LAKEHOUSE_API_PORT": (settings.host, settings.api_port),
        "LAKEHOUSE_DAGSTER_PORT": (settings.ui_host, settings.dagster_port),
    }
    if with_mlflow:
        ports["LAKEHOUSE_MLFLOW_PORT"] = (settings.ui_host, settings.mlflow_port)
    for variable, (host, port) in ports.items():
        if not port_is_free(host, port):
            raise UpError(f"Port {port} is in use: stop the program that listens there, or set {variable}.")


def _materialize_missing() -> bool:
    """In a process of its own, whose memory (TensorFlow) is given back before serving."""
    command = [sys.executable, "-m", "assets_pkg.cli", "materialize", "--missing", "--alone", "--stop-with-parent"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait() == 0
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def _wait_until_ready(children: list[Child]) -> None:
    print("Starting the servers ...", flush=True)
    deadline = time.monotonic() + _READY_SECONDS
    waiting = list(children)
    while waiting:
        waiting = [child for child in waiting if not child.is_ready()]
        _raise_if_ended(children)
        if time.monotonic() > deadline:
            names = ", ".join(child.service.name for child in waiting)
            raise UpError(f"Not ready after {_READY_SECONDS} s: {names}; the log is {waiting[0].log}.")
        time.sleep(_POLL_SECONDS)


def _watch(children: list[Child]) -> None:
    while True:
        _raise_if_ended(children)
        time.sleep(_POLL_SECONDS)


def _raise_if_ended(children: list[Child]) -> None:
    for child in children:
        if child.exit_code is not None:
            raise UpError(f"The {child.service.name} server ended by itself; the end of {child.log}:\n{child.tail()}")


def _log(settings: Settings, service: Service) -> Path:
    return settings.home / "logs" / f"{service.name}.log"


def _announce(settings: Settings, services: list[Service], complete: bool) -> None:
    addresses = {service.name: service.address for service in services}
    api = addresses["api"]
    print(
        f"""
  Lineage graph    {addresses["dagster"]}/asset-groups
  A forecast       {api}/v1/predictions/AAPL
  API docs         {api}/docs
  Drift reports    {api}/reports
  Data catalogue   {api}/catalog"""
    )
    if "mlflow" in addresses:
        print(f"  MLflow           {addresses['mlflow']}")
    print(f"  Landing folder   {settings.landing_uri}   (drop a CSV or Parquet file of bars)")
    if not complete:
        print("\n  Some assets could not be materialised; what there is, is served. The run in the UI says why.")
    print("\nCtrl-C stops everything.", flush=True)
