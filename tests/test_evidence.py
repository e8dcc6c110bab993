"""Evidence: a forecast, and the model behind it, after three updates of the lake, compaction and vacuum."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lake.evidence import UnknownForecastError, trace
from lake.evidence_page import html_page
from lake.upkeep import compact, vacuum
from ml.pins import pinned_versions
from ml.registry import Registry
from tests.graph_kit import ROOT, Built, Home

TABLES = ("raw/bars", "market/bars", "market/features")
DAYS = ("2022-12-29", "2022-12-30", "2023-01-03")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("graph")]


@pytest.fixture(scope="module")
def home(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The built graph, and what became of its tables since."""
    folder = tmp_path_factory.mktemp("later")
    home = built.copy(folder)
    for day in DAYS:
        file = folder / f"{day}.csv"
        file.write_text(f"symbol,date,close\nAAPL,{day},125.9\n")
        assert home.run("ingest", str(file)).returncode == 0
        _build_features(home, folder)
    pins = pinned_versions(home.lake, Registry(home.settings))
    for table in TABLES:
        compact(home.lake, table)
        vacuum(home.settings, table, pins.get(table, set()), retention_hours=0)
    return home


def _build_features(home: Home, folder: Path) -> None:
    project = str(ROOT / "dbt_project")
    place = [
        "--project-dir",
        project,
        "--profiles-dir",
        project,
        "--target-path",
        str(folder),
        "--log-path",
        str(folder),
    ]
    command = [Path(sys.executable).with_name("dbt"), "--quiet", "run", "--select", "+features", *place]
    done = subprocess.run(command, env=home.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def forecast(home: Home) -> dict[str, Any]:
    rows = home.lake.read("forecasts/predictions").to_pylist()
    of_apple = (row for row in rows if (row["symbol"], row["target"]) == ("AAPL", "volatility_5d"))
    return max(of_apple, key=lambda row: row["as_of"])


def test_the_lake_has_moved_on(home: Home) -> None:
    assert home.lake.version("market/features") == 3
    with pytest.raises(OSError, match="No such file"):
        home.lake.read("raw/bars", version=3)


def test_a_forecast_is_followed_back_to_its_raw_rows(built: Built, home: Home, forecast: dict[str, Any]) -> None:
    done = home.run("lineage", forecast["id"], "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    evidence = json.loads(done.stdout)
    assert evidence["broken"] == []
    links = {link["title"].split(",")[0]: link for link in evidence["links"]}
    assert links["Forecast"]["facts"]["dagster_run_id"] == built.run_id
    model = links["Model volatility_5d"]["facts"]
    assert (model["mlflow_run_id"], model["trained_on"]) == (
        forecast["mlflow_run_id"],
        {"market/features": 0, "models/garch": 1},
    )
    assert "the model says the same of its inputs again" in links["Model volatility_5d"]["verified"]
    builds = [link["facts"] for title, link in links.items() if title.startswith("Build of market/")]
    assert {build["dagster_run_id"] for build in builds} == {built.run_id}
    (invocation,) = {build["dbt_invocation_id"] for build in builds}
    assert len(invocation) == 36
    bars = links["Raw bars: raw/bars"]["rows"]
    assert bars[0]["ts"] == "2022-12-28T00:00:00Z"
    assert bars[0]["close"] == forecast["last_price"]
    brought = links["Batches that brought bars of AAPL"]["rows"]
    assert {row["source"] for row in brought} == {"skfolio", "bokeh"}, "not the files, which came later"
    assert sum(row["bars of the symbol"] for row in brought) == home.lake.row_count("raw/bars") - _others(home)
    assert all(row["ingested_at"] < evidence["forecast"]["created_at"] for row in brought)


def _others(home: Home) -> int:
    rows = home.lake.read("raw/bars", ["symbol", "source"]).to_pylist()
    return sum(row["symbol"] != "AAPL" or row["source"] == "file" for row in rows)


def test_what_does_not_fit_is_named(home: Home, forecast: dict[str, Any], tmp_path: Path) -> None:
    registry = Registry(home.settings)
    version = registry.registered(forecast["model"], forecast["version"])
    assert version is not None
    onnx = registry.load(version.name, version.version).onnx
    assert trace(home.lake, forecast["id"], version, onnx)["broken"] == []
    other = onnx + b"\xa2\x06\x00"  # with an unknown field, which is empty: it answers as before
    (broken,) = trace(home.lake, forecast["id"], version, other)["broken"]
    assert "it is not the one that was registered" in broken
    (broken,) = trace(home.lake, forecast["id"], None)["broken"]
    assert broken.endswith("the registry does not have this version any more")
    with pytest.raises(UnknownForecastError):
        trace(home.lake, "0" * 16, version)

    damaged = home.lake
    ledger = damaged.read("raw/batches")
    wrong = [row | {"accepted": row["accepted"] + 1} for row in ledger.to_pylist()]
    damaged.replace("raw/batches", ledger.from_pylist(wrong, schema=ledger.schema))
    try:
        evidence = trace(damaged, forecast["id"], version, onnx)
        assert len(evidence["broken"]) == 2
        assert all("the ledger says" in broken for broken in evidence["broken"])
        page = html_page(evidence)
        assert all(broken.split(": ", 1)[1] in page for broken in evidence["broken"])
        assert f"Forecast {forecast['id']}: volatility_5d of AAPL as of 2022-12-28" in page
    finally:
        damaged.replace("raw/batches", ledger)


def test_the_model_is_trained_anew_from_the_versions_it_pins(home: Home) -> None:
    version = str(Registry(home.settings).client.get_model_version_by_alias("volatility_5d", "challenger").version)
    done = home.run("reproduce", "volatility_5d", version)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same weights, bit for bit" in done.stdout
