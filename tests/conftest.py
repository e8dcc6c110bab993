"""Fixtures that several test files share: an empty home, a lake in it, a webhook for notifications, the built graph."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import curl_cffi  # noqa: F401 (TensorFlow carries a libcurl too, and the first one that a process loads wins)
import pytest
from filelock import FileLock

from lake.settings import Settings, get_settings
from lake.store import Lake
from tests.graph_kit import Built, Home, build
from tests.provider_market import Market
from tests.provider_server import ProviderServer
from tests.webhook import Webhook


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the shell or of another test: MLflow writes the address of its store into the environment."""
    for name in list(os.environ):
        if name.startswith(("LAKEHOUSE_", "MLFLOW_")):
            monkeypatch.delenv(name)


@pytest.fixture
def settings(own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty home of this test's own, in the environment of the process too."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    return get_settings()


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """The empty lake of those settings."""
    return Lake.from_settings(settings)


@pytest.fixture
def market(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Market]:
    """Two running providers of bars, to which the settings lead."""
    server = ProviderServer()
    market = Market(server)
    for name, value in market.variables.items():
        monkeypatch.setenv(name, value)
    yield market
    server.close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A running webhook."""
    with Webhook() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Built:
    """The graph of a small universe, built once for all tests and workers; who changes it works on a copy."""
    own = tmp_path_factory.getbasetemp()
    known = (own if worker_id == "master" else own.parent) / "built.pickle"
    with FileLock(known.with_suffix(".lock")):
        if not known.exists():
            known.write_bytes(pickle.dumps(build(Home(tmp_path_factory.mktemp("graph") / "home"))))
        found: Built = pickle.loads(known.read_bytes())
    return found
