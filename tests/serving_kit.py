"""A lake, a registry and a server to test the API with: all real, all in a temporary folder."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import uvicorn
from fastapi import FastAPI

from lake.settings import Settings
from lake.store import Lake
from lake.tables import TABLES
from serving.app import create_app

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
        "model": target,
        "version": version,
        "role": "champion",
        "backfilled": False,
        "lake_versions": json.dumps({"market/features": 12}),
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


def make_settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with an empty lake and a registry of its own."""
    template = tmp_path_factory.getbasetemp() / "registry.db"
    if not template.exists():
        _make_registry(template)
    shutil.copy(template, tmp_path / "mlflow.db")
    return Settings(home=tmp_path, mlflow_tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def _make_registry(path: Path) -> None:
    """By MLflow itself: versions 1 and 2 of both models, version 1 is the champion."""
    import mlflow

    uri = f"sqlite:///{path}"
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    for model in ("return_5d", "volatility_5d"):
        client.create_registered_model(model)
        for _ in range(2):
            client.create_model_version(model, source=f"models/{model}", tags={"seed": "7"})
        client.set_registered_model_alias(model, "champion", "1")


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


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def promote(settings: Settings, model: str, version: str) -> None:
    import mlflow

    uri = settings.mlflow_tracking_uri
    mlflow.MlflowClient(uri, registry_uri=uri).set_registered_model_alias(model, "champion", version)


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
