"""The champions are read from a registry file and from a registry server alike, and another kind is refused clearly."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lake.settings import Settings
from serving.champions import RegistryError, read_champions
from tests.serving_kit import eventually, make_settings, promote


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path, tmp_path_factory)


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    """Address of an MLflow server over the same registry file."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = ["server", "--backend-store-uri", settings.mlflow_tracking_uri, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command],
        cwd=settings.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(answers, seconds=90)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.mark.slow
def test_file_and_server_tell_the_same_champions(settings: Settings, server: str) -> None:
    champions = read_champions(server)
    assert champions == read_champions(settings.mlflow_tracking_uri)
    assert {name: champion.version for name, champion in champions.items()} == {"return_5d": "1", "volatility_5d": "1"}
    assert champions["return_5d"].tags == {"seed": "7"}
    promote(settings, "return_5d", "2")
    assert read_champions(server)["return_5d"].version == "2"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://127.0.0.1:9", "http registry"),
        ("sqlite:////nowhere/mlflow.db", "does not exist yet"),
        ("postgresql://user:password@database/mlflow", "'postgresql' cannot be read"),
        ("/some/folder", "'file' cannot be read"),
    ],
)
def test_a_registry_that_cannot_be_read_is_named_without_its_secrets(uri: str, says: str) -> None:
    with pytest.raises(RegistryError, match=says) as raised:
        read_champions(uri)
    assert "password" not in str(raised.value)


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(RegistryError, match="not a database"):
        read_champions(f"sqlite:///{tmp_path / 'mlflow.db'}")
