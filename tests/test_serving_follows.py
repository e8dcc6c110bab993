"""The API follows the lake and the registry, and survives both."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from lake.settings import Settings
from lake.store import Lake
from tests.serving_kit import (
    SESSION,
    TABLE,
    eventually,
    make_settings,
    problem,
    promote,
    reasons,
    rows_table,
    serve,
    session,
    write,
)


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path, tmp_path_factory)


def test_before_the_first_forecast_it_is_alive_but_not_ready_and_then_becomes_ready(settings: Settings) -> None:
    with serve(settings, wait_ready=False) as client:
        for path in ("/readyz", "/v1/predictions/AAPL", "/v1/predictions", "/v1/symbols", "/v1/models"):
            answer = client.get(path)
            assert TABLE in " ".join(problem(answer, 503)["reasons"])
            assert int(answer.headers["retry-after"]) > 0
        Lake.from_settings(settings).create(TABLE)
        eventually(lambda: "empty" in client.get("/readyz").json()["detail"])
        assert "No forecasts yet" in client.get("/").text
        write(settings, session("AAPL"))
        eventually(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/v1/predictions/AAPL").status_code == 200


def test_a_new_session_in_the_lake_is_served_within_seconds(settings: Settings) -> None:
    write(settings, session("AAPL"))
    with serve(settings) as client:
        version = write(settings, session("AAPL", "MSFT", as_of=SESSION + timedelta(days=1)))
        eventually(lambda: client.get("/v1/predictions/MSFT").status_code == 200)
        assert client.get("/v1/predictions/AAPL").json()["as_of"] == "2022-12-29T00:00:00Z"
        assert client.get("/readyz").json()["snapshot_version"] == version


def test_a_lake_that_was_deleted_and_built_anew_is_noticed_at_the_same_version(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.tables.REOPEN_SECONDS", 1.0)
    first = write(settings, session("AAPL"))
    with serve(settings) as client:
        shutil.rmtree(settings.home / "lake")
        assert write(settings, session("MSFT")) == first
        eventually(lambda: client.get("/v1/predictions/MSFT").status_code == 200)


def test_the_champion_is_preferred_and_a_promotion_is_followed(settings: Settings) -> None:
    write(settings, session("AAPL", version="1") + session("AAPL", version="2", mean=0.02))
    with serve(settings) as client:

        def versions() -> list[str]:
            return [found["model"]["version"] for found in client.get("/v1/predictions/AAPL").json()["forecasts"]]

        assert versions() == ["1", "1"]  # although version 2 was created later
        promote(settings, "return_5d", "2")
        eventually(lambda: versions() == ["2", "1"])
        promote(settings, "return_5d", "1")
        eventually(lambda: versions() == ["1", "1"])
        returns, volatility = client.get("/v1/models").json()["models"]
        assert (returns["name"], volatility["name"]) == ("return_5d", "volatility_5d")
        assert (returns["champion"]["version"], returns["serving"]) == ("1", ["1"])
        assert returns["champion"]["tags"]["seed"] == "7"


@pytest.mark.parametrize(("age", "served", "role"), [(1, "1", "champion"), (7, "1", "champion"), (8, "2", "fallback")])
def test_the_champion_answers_with_an_older_session_while_that_forecast_looks_ahead(
    settings: Settings, age: int, served: str, role: str
) -> None:
    older = SESSION - timedelta(days=age)
    write(settings, session("AAPL", version="1", as_of=older) + session("AAPL", version="2"))
    with serve(settings) as client:
        for made in client.get("/v1/predictions/AAPL").json()["forecasts"]:
            assert (made["model"]["version"], made["role"]) == (served, role)


def test_a_broken_lake_keeps_the_last_good_state_and_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.tables.REOPEN_SECONDS", 1.0)
    version = write(settings, session("AAPL"))
    with serve(settings) as client:
        good = client.get("/v1/predictions/AAPL").content
        assert reasons(client) == ""
        torn = settings.home / "lake" / TABLE / "_delta_log" / f"{version + 1:020}.json"
        torn.write_text('{"add": {"path": "half a comm')
        eventually(lambda: "lake" in reasons(client))
        assert "unknown" not in reasons(client)  # nothing of the library's own stack
        assert client.get("/v1/predictions/AAPL").content == good
        torn.unlink()
        (settings.home / "lake").rename(settings.home / "away")
        eventually(lambda: TABLE in reasons(client))
        assert client.get("/v1/predictions/AAPL").content == good
        (settings.home / "away").rename(settings.home / "lake")
        eventually(lambda: reasons(client) == "")


def test_a_row_that_is_not_a_forecast_is_never_served(settings: Settings) -> None:
    write(settings, session("AAPL"))
    with serve(settings) as client:
        good = client.get("/v1/predictions/AAPL").content
        write(settings, session("AAPL", as_of=SESSION + timedelta(days=1), mean=float("nan")))
        eventually(lambda: "finite number" in reasons(client))
        assert client.get("/v1/predictions/AAPL").content == good


def test_a_registry_that_is_away_keeps_the_champions_known_before(settings: Settings) -> None:
    write(settings, session("AAPL", version="1") + session("AAPL", version="2"))
    registry = settings.home / "mlflow.db"
    with serve(settings) as client:
        good = client.get("/v1/predictions/AAPL").content
        registry.rename(settings.home / "away.db")
        eventually(lambda: "registry" in reasons(client))
        write(settings, session("MSFT", version="1") + session("MSFT", version="2"))
        eventually(lambda: client.get("/v1/predictions/MSFT").status_code == 200)
        assert client.get("/v1/predictions/MSFT").json()["forecasts"][0]["model"]["version"] == "1"
        assert client.get("/v1/predictions/AAPL").content == good


def test_an_answer_never_mixes_two_states_while_two_writers_replace_the_table(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.state.POLL_SECONDS", 0.01)
    monkeypatch.setattr("serving.state.LAKE_SECONDS", 0.0)
    write(settings, session("AAPL", "MSFT", mean=0.0))
    lake, until = Lake.from_settings(settings), time.monotonic() + 2.5

    def writer(first: int) -> None:
        mark = first
        while time.monotonic() < until:
            rows = session("AAPL", "MSFT", mean=float(mark), lake_versions=json.dumps({"market/features": mark}))
            lake.replace(TABLE, rows_table(rows))
            mark += 2

    def reader() -> set[float]:
        seen = set()
        with httpx.Client(base_url=client.base_url, trust_env=False) as own:
            while time.monotonic() < until:
                answer = own.get("/v1/predictions")
                assert answer.status_code == 200
                marks = {
                    mark
                    for found in answer.json()["predictions"]
                    for made in found["forecasts"]
                    for mark in (made["mean"], float(made["lake_versions"]["market/features"]))
                    if made["mean"] != 0.0
                }
                assert len(marks) <= 1
                seen |= marks
        return seen

    with serve(settings) as client, ThreadPoolExecutor() as pool:
        writers = [pool.submit(writer, first) for first in (1, 2)]
        seen = [future.result() for future in [pool.submit(reader) for _ in range(2)]]
        for future in writers:
            future.result()
    assert len(set.union(*seen)) > 3  # the state did change under the readers
