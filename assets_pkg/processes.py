"""Child processes of `lakehouse up`: started so that they stop with it, however it ends."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 12.0


@dataclass(frozen=True)
class Service:
    """A server: its name for people, its command, and the address that answers once it is ready."""

    name: str
    command: Sequence[str]
    address: str
    ready_path: str = "/"


class Child:
    """A running service in a session of its own, its output in a log file."""

    def __init__(self, service: Service, log: Path, cwd: Path, environment: Mapping[str, str] | None = None) -> None:
        self.service, self.log = service, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(service.command),
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches `lakehouse up` alone, which stops its children in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (it takes no lock)
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Whether its address answers, with whatever status."""
        try:
            with urllib.request.urlopen(self.service.address + self.service.ready_path, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)


def stop_all(children: Sequence[Child]) -> None:
    """Stop services and everything that they have started; what does not go in time is killed."""
    families = [family for child in children for family in _family(child)]
    for child in children:
        child.terminate()
    _, alive = psutil.wait_procs(families, timeout=_STOP_SECONDS)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=3)


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def stop_with_parent() -> None:
    """Interrupt this process when the one that started it (make) has died, even of kill -9."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()


def _family(child: Child) -> list[psutil.Process]:
    try:
        process = psutil.Process(child._process.pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _die_with_parent() -> None:
    # A child may inherit "ignore" for both from make or a script, and would then outlive every request to stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
