"""A lake, a registry and a server to test the API with: all real, all in a temporary folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest
import uvicorn
from fastapi import FastAPI

from lake.api import Limits
from lake.settings import Settings
from lake.store import Lake
from lake.tables import TABLES
from ml.artifact import pack
from ml.contract import Contract, contract_of, digest, golden, ranges
from ml.contract import session as session_of
from ml.intervals import calibrate
from ml.models.graph import Graph
from serving.app import create_app

ROOT = Path(__file__).parents[1]
LAKE_VERSIONS = {"market/features": 12}
TABLE = "forecasts/predictions"
SESSION = datetime(2022, 12, 28, tzinfo=UTC)


def forecast(symbol: str, target: str, as_of: datetime = SESSION, version: str = "1", **changes: Any) -> dict[str, Any]:
    is_return = target.startswith("return")
    return {
        "id": f"{abs(hash((symbol, target, as_of, version))):016x}"[:16],
        "symbol": symbol,
        "target": target,
        "horizon": 5,
        "as_of": as_of,
        "last_price": 100.0,
        "mean": 0.01,
        "price": 101.005 if is_return else None,
        "intervals": [
            {"level": level, "lower": 0.01 - level / 10, "upper": 0.01 + level / 10} for level in (0.95, 0.8, 0.9)
        ],
        "contributions": [{"feature": "log_ewma_vol", "contribution": -0.002}],
        "model": target,
        "version": version,
        "role": "champion",
        "backfilled": False,
        "lake_versions": json.dumps(LAKE_VERSIONS),
        "mlflow_run_id": "0" * 32,
        "dagster_run_id": "1" * 36,
        "created_at": datetime(2022, 12, 29, tzinfo=UTC) + timedelta(hours=int(version)),
    } | changes


def session(*symbols: str, **changes: Any) -> list[dict[str, Any]]:
    """Both targets of each symbol."""
    return [forecast(symbol, target, **changes) for symbol in symbols for target in ("return_5d", "volatility_5d")]


def rows_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as the predictions table has them."""
    return pa.Table.from_pylist(rows, TABLES[TABLE].schema)


def write(settings: Settings, rows: list[dict[str, Any]]) -> int:
    lake = Lake.from_settings(settings)
    lake.create(TABLE)
    return lake.append(TABLE, rows_table(rows))


def write_features(settings: Settings, *symbols: str, sessions: int = 30, **newest: float | None) -> int:
    """Daily features of the models of `model_file`, and an hourly row that no window may contain."""
    rows = []
    for symbol in symbols:
        for i in range(sessions):
            ts = SESSION - timedelta(days=sessions - 1 - i)
            values: dict[str, Any] = {"log_return_1": i / 1000, "log_ewma_vol": -4.0 + i / 100, "ewma_vol": 0.02}
            values |= newest if i == sessions - 1 else {}
            rows.append({"symbol": symbol, "interval": "1d", "ts": ts, "last_price": 100.0, **values})
        rows.append(rows[-1] | {"interval": "1h", "ts": SESSION + timedelta(hours=1), "log_return_1": 9.0})
    return Lake.from_settings(settings).replace("market/features", pa.Table.from_pylist(rows))


def make_settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with an empty lake, a registry of its own, and the files of its versions admitted already."""
    template = tmp_path_factory.getbasetemp() / "home"
    if not template.exists():
        make_registry(template)
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    # A machine that is busy with other tests is no overload.
    patient = Limits(delay_seconds=60)
    return Settings(home=tmp_path, mlflow_tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", limits=patient)


def make_registry(home: Path) -> None:
    """By MLflow itself: versions 1 and 2 of both models, version 1 is the champion."""
    home.mkdir()
    settings = Settings(home=home, mlflow_tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    client = registry_client(settings)
    for target in ("return_5d", "volatility_5d"):
        client.create_registered_model(target)
        for version in ("1", "2"):
            onnx = model_file(target, version)
            register(settings, target, onnx)
            kept = home / "serving" / "models" / digest(onnx, LAKE_VERSIONS)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.with_suffix(".onnx").write_bytes(onnx)
            kept.with_suffix(".json").write_text(contract_of(session_of(onnx)).to_json())
        client.set_registered_model_alias(target, "champion", "1")


def model_file(target: str, version: str, **changes: Any) -> bytes:
    """A model whose answer tells its version: a return of a hundredth of it, a volatility that many times the EWMA's.

    Version 1 of the return scales its intervals by the naive volatility, the others by volatility_5d version 1.
    """
    is_return, number = target.startswith("return"), float(version)
    inputs, lookback = _window(target)
    graph = Graph(lookback, len(inputs))
    newest = graph.last_step(0)
    if is_return:
        mean = graph.add("Add", graph.add("Mul", newest, graph.constant(0.5)), graph.constant(number / 100))
    else:
        mean = graph.add("Mul", graph.add("Exp", newest), graph.constant(number * 5**0.5))
    built = graph.build(mean)
    draws = np.random.default_rng(1)
    forecasts = np.full(200, 0.02)
    scale = forecasts if is_return else None
    scaled_by = ("volatility_5d", "1") if is_return and version != "1" else None
    windows = draws.uniform(-5, -3, (50, lookback, len(inputs))).astype(np.float32)
    if is_return:
        windows[:, :, 0] = draws.uniform(-0.1, 0.1, (50, lookback))
    contract = Contract(
        target=target,
        model=f"linear {version}",
        inputs=inputs,
        lookback=lookback,
        seed=7,
        conformal=calibrate(draws.lognormal(-4, 0.3, 200), forecasts, scale, scaled_by=scaled_by),
        ranges=ranges(windows, inputs),
        typical=tuple(windows[:, -1].mean(axis=0).tolist()),
        golden=golden(built, windows[0]),
    )
    return pack(built, replace(contract, **changes))


def _window(target: str) -> tuple[tuple[str, ...], int]:
    return (("log_return_1", "log_ewma_vol"), 3) if target.startswith("return") else (("log_ewma_vol",), 1)


def register(settings: Settings, target: str, onnx: bytes, digest_tag: str | None = None) -> str:
    """Register a file by MLflow; the new version."""
    folder = settings.home / "artifacts" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx)
    inputs, lookback = _window(target)
    tags = {
        "seed": "7",
        "features": json.dumps(inputs),
        "lookback": str(lookback),
        "lake_versions": json.dumps(LAKE_VERSIONS, sort_keys=True),
        "digest": digest_tag or digest(onnx, LAKE_VERSIONS),
    }
    made = registry_client(settings).create_model_version(target, source=folder.as_uri(), tags=tags)
    return str(made.version)


def registry_client(settings: Settings) -> Any:
    import mlflow

    uri = settings.mlflow_tracking_uri
    return mlflow.MlflowClient(uri, registry_uri=uri)


@contextmanager
def serve(settings: Settings, wait_ready: bool = True, app: FastAPI | None = None) -> Iterator[httpx.Client]:
    """The app on a free port of a real server, ready to answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app or create_app(settings), log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, trust_env=False, timeout=10) as client:
                eventually(lambda: client.get("/readyz" if wait_ready else "/healthz").status_code == 200)
                yield client
        finally:
            server.should_exit = True
            thread.join(timeout=20)
    assert not thread.is_alive(), "the server did not stop"


@dataclass(frozen=True)
class Served:
    """`python -m serving` with its clients and its log."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def serving_process(settings: Settings, **variables: str) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "LAKEHOUSE_HOME": str(settings.home),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "LAKEHOUSE_API_PORT": str(port),
        **{f"LAKEHOUSE_{name}": value for name, value in variables.items()},
    }
    log = settings.home / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "serving"], cwd=ROOT, env=environment, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                try:
                    return client.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            eventually(ready)
            yield Served(process, client, log)
    finally:
        process.terminate()
        process.wait(20)


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def promote(settings: Settings, model: str, version: str, alias: str = "champion") -> None:
    registry_client(settings).set_registered_model_alias(model, alias, version)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


def reasons(client: httpx.Client) -> str:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    return " ".join(answer.json()["reasons"])
