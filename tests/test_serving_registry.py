"""A registry is read from its file, its server and its PostgreSQL alike, and another kind is refused clearly."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from lake.settings import Settings
from serving.registry import RegistryError, open_registry
from tests.serving_kit import (
    eventually,
    make_settings,
    model_file,
    promote,
    reasons,
    register,
    registry_client,
    serve,
    session,
    write,
)


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path, tmp_path_factory)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    """Address of an MLflow server over the same registry file."""
    port = free_port()
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


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL server of its own; root may not start one, so another user does."""
    programs = Path("/usr/lib/postgresql/15/bin")
    if not programs.exists():
        assert "CI" not in os.environ, "continuous integration needs PostgreSQL 15"
        pytest.skip("PostgreSQL 15 is not installed")
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run = partial(subprocess.run, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    run([*as_user, programs / "initdb", "-D", data, "-A", "trust", "-U", "lakehouse"])
    run([*as_user, programs / "pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start"])
    try:
        yield f"postgresql+psycopg://lakehouse:secret@127.0.0.1:{port}/postgres"
    finally:
        run([*as_user, programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"])
        shutil.rmtree(folder)


def described(uri: str) -> dict[str, Any]:
    """What can be compared between registries: all but the moments at which versions were made."""
    return {
        model.name: (
            {alias: (v.version, v.run_id, v.tags, v.location) for alias, v in model.aliases.items()},
            model.challenger_share,
        )
        for model in open_registry(uri).models()
    }


@pytest.mark.slow
def test_file_and_server_tell_the_same(settings: Settings, server: str) -> None:
    registry_client(settings).set_registered_model_tag("return_5d", "challenger_share", "0.25")
    promote(settings, "return_5d", "2", alias="challenger")
    found = described(server)
    assert found == described(settings.mlflow_tracking_uri)
    aliases, share = found["return_5d"]
    assert {alias: version[0] for alias, version in aliases.items()} == {"champion": "1", "challenger": "2"}
    assert share == 0.25
    assert found["volatility_5d"][1] is None
    promote(settings, "return_5d", "2")
    assert described(server)["return_5d"][0]["champion"][0] == "2"
    there = open_registry(server).version("return_5d", "1")
    assert there == open_registry(settings.mlflow_tracking_uri).version("return_5d", "1")
    for missing in ("99", "x"):
        assert open_registry(server).version("return_5d", missing) is None
        assert open_registry(settings.mlflow_tracking_uri).version("return_5d", missing) is None


@pytest.mark.slow
def test_a_registry_in_postgresql_is_read_and_its_versions_are_served(
    settings: Settings, postgresql: str, tmp_path: Path
) -> None:
    there = settings.model_copy(update={"mlflow_tracking_uri": postgresql})
    client = registry_client(there)
    client.create_registered_model("return_5d")
    register(there, "return_5d", model_file("return_5d", "1"))
    promote(there, "return_5d", "1")
    (model,) = open_registry(postgresql).models()
    assert model.aliases["champion"].tags["seed"] == "7"
    assert open_registry(postgresql).version("return_5d", "1") == model.aliases["champion"]
    write(there, session("AAPL"))
    with serve(there) as api:
        assert reasons(api) == ""
        assert api.get("/v1/models").json()["models"][0]["champion"]["version"] == "1"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://127.0.0.1:9", "http registry"),
        ("sqlite:////nowhere/mlflow.db", "does not exist yet"),
        ("postgresql://user:password@127.0.0.1:9/mlflow", "postgresql registry: connection failed"),
        ("mysql://user:password@database/mlflow", "'mysql' cannot be read"),
        ("/some/folder", "'file' cannot be read"),
    ],
)
def test_a_registry_that_cannot_be_read_is_named_without_its_secrets(uri: str, says: str) -> None:
    with pytest.raises(RegistryError, match=says) as raised:
        open_registry(uri).models()
    assert "password" not in str(raised.value)


def test_a_file_that_is_no_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(RegistryError, match="not a database"):
        open_registry(f"sqlite:///{tmp_path / 'mlflow.db'}").models()
