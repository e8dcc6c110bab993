"""One real run of the whole graph on a small universe: what it leaves behind."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from statsmodels.datasets import macrodata

from assets_pkg.definitions import build_definitions
from lake.ingest import unbalanced_batches
from ml.forecasting import HISTORY
from ml.registry import Registry
from tests.graph_kit import ASSETS, UNIVERSE, Built

PLOTS = {
    "market/indicators": 1,
    "models/garch": 1,
    "models/evaluation": 2,
    "models/volatility_5d": 4,
    "models/return_5d": 4,
    "forecasts/predictions": 1,
    "forecasts/scores": 1,
    "monitoring/data_drift": 1,
}
TARGETS = ("return_5d", "volatility_5d")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("graph")]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


@pytest.fixture(scope="module")
def told(built: Built) -> dict[str, dict[str, Any]]:
    """Metadata of the newest materialisation of every asset."""
    with built.home.instance() as instance:
        keys = build_definitions().resolve_asset_graph().get_all_asset_keys()
        events = instance.get_latest_materialization_events(keys)
        return {
            key.to_user_string(): {name: value.value for name, value in event.asset_materialization.metadata.items()}
            for key, event in events.items()
            if event is not None and event.asset_materialization is not None
        }


def test_progress_is_told_asset_by_asset(built: Built, told: dict[str, Any]) -> None:
    lines = re.findall(rf"^\[ ?(\d+)/{ASSETS}\] (\S+) .* (\d+\.\d) s$", built.output, re.M)
    assert [int(number) for number, _, _ in lines] == list(range(1, ASSETS + 1))
    assert {asset for _, asset, _ in lines} == set(told)
    assert re.search(rf"^done: {ASSETS} assets in \d+ s", built.output, re.M)


def test_every_asset_tells_its_rows_and_the_version_it_wrote(built: Built, told: dict[str, Any]) -> None:
    lake = built.home.lake
    assert set(lake.tables()) == set(told) - {"catalog/dbt_docs"}
    compacted = [row["table"] for row in lake.read("upkeep/compaction").to_pylist() if row["outcome"] == "done"]
    assert compacted == ["raw/bars"]
    for table in lake.tables():
        assert told[table]["dagster/row_count"] == lake.row_count(table), table
        assert told[table]["lake_version"] == lake.version(table) - (table in compacted), table
        assert told[table]["dagster/uri"] == lake.path(table), table
        if table.startswith("market/"):
            assert told[table]["rewritten rows"] == lake.row_count(table), table
    assert lake.row_count("market/features") == lake.row_count("market/bars") > 15_000


def test_plots_are_where_people_would_look(told: dict[str, Any]) -> None:
    found = {
        asset: sum(str(value).startswith("![plot](data:image/png;base64,iVBOR") for value in metadata.values())
        for asset, metadata in told.items()
    }
    assert {asset: plots for asset, plots in found.items() if plots} == PLOTS


def test_all_checks_were_evaluated_and_no_blocking_one_failed(built: Built, definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    with built.home.instance() as instance:
        page = instance.get_records_for_run(built.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        events = [record.event_log_entry.dagster_event for record in page.records]
        found = [event.asset_check_evaluation_data for event in events if event is not None]
    assert {dg.AssetCheckKey(check.asset_key, check.check_name) for check in found} == set(graph.asset_check_keys)
    failed = {f"{check.asset_key.to_user_string()} {check.check_name}" for check in found if not check.passed}
    may_warn = {
        "raw/flags no_bar_was_flagged",
        "models/volatility_5d_champion learned_model_wins",
        "monitoring/data_drift no_drift",
    }
    assert failed <= may_warn


def test_the_ledger_balances(built: Built) -> None:
    lake = built.home.lake
    assert unbalanced_batches(lake) == []
    assert {row["source"] for row in lake.read("raw/batches").to_pylist()} == {
        "skfolio",
        "bokeh",
        "arch",
        "statsmodels",
    }


def test_the_embedded_economy_is_in_the_features_from_its_usual_release_on(built: Built) -> None:
    data = macrodata.load_pandas().data.set_index(["year", "quarter"])
    economy = pd.DataFrame({"policy_rate": data["tbilrate"] / 100})
    for name, level in (("gdp_growth", data["realgdp"]), ("inflation", data["cpi"])):
        economy[name] = level / level.shift(4) - 1
    features = built.home.lake.read("market/features").to_pandas()
    days = features[features["symbol"] == "AAPL"].set_index("ts")[["gdp_growth", "inflation", "policy_rate"]]
    # The second quarter is known 125 days after its begin, the prices of June 50 days, the bills of spring 95 days.
    for name, before, released in (
        ("gdp_growth", "2008-08-01", "2008-08-04"),
        ("inflation", "2008-07-18", "2008-07-21"),
        ("policy_rate", "2008-07-03", "2008-07-07"),
    ):
        seen = [days.loc[f"{day}T00:00Z", name] for day in (before, released)]
        assert seen == pytest.approx([economy.loc[(2008, quarter), name] for quarter in (1, 2)]), name
    assert days[days.index > "2011"].isna().all(axis=None)


def test_contradictions_between_the_embedded_sources_are_found_and_shown(built: Built, told: dict[str, Any]) -> None:
    rows = built.home.lake.read("market/reconciliation").to_pylist()
    days = {(row["symbol"], f"{row['ts']:%Y-%m-%d}"): row for row in rows}
    assert abs(days["AAPL", "2003-01-29"]["difference"]) == pytest.approx(0.027, abs=0.0005)
    assert abs(days["AAPL", "2003-01-30"]["difference"]) == pytest.approx(0.027, abs=0.0005)
    assert abs(days["MSFT", "2007-05-01"]["difference"]) == pytest.approx(0.0069, abs=0.0001)
    opens = [row for row in rows if row["finding"] == "open_repeats_close"]
    assert {(row["symbol"], row["source_a"]) for row in opens} == {("SP500", "arch")}
    assert sum(row["bars"] for row in opens) > 1_900
    shown = [record.data for record in told["market/reconciliation"]["findings"].records]
    worst = {"symbol": "AAPL", "ts": "2003-01-30", "difference": "-0.02706", "source_a": "bokeh", "source_b": "skfolio"}
    assert worst.items() <= shown[0].items()


def test_each_target_has_a_champion_that_says_where_it_comes_from(built: Built) -> None:
    registry, lake = Registry(built.home.settings), built.home.lake
    for target in TARGETS:
        champion = registry.client.get_model_version_by_alias(target, "champion")
        versions = json.loads(champion.tags["lake_versions"])
        assert "market/features" in versions
        assert versions == {table: lake.version(table) for table in versions}
        assert len(json.loads(champion.tags["features"])) >= 1
        assert {"seed", "metrics", "code_version", "conformal", "split", "digest"} <= set(champion.tags)
        assert champion.tags["seed"] == "0"
        (decision,) = built.home.lake.read(f"models/{target}_champion").to_pylist()
        assert decision["version"] == str(champion.version)
        assert decision["champion"] == champion.tags["model"]


def test_tracking_has_one_closed_run_a_model_below_one_of_the_graph(built: Built) -> None:
    client = Registry(built.home.settings).client
    experiment = client.get_experiment_by_name("lakehouse")
    assert experiment is not None
    assert experiment.artifact_location == Path(built.home.settings.mlflow_artifacts, "lakehouse").as_uri()
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert Counter(run.data.tags["asset_key"] for run in children) == {f"models/{target}": 1 for target in TARGETS}
    assert {run.data.tags["dagster_run_id"] for run in children} == {built.run_id}


def test_every_symbol_has_both_forecasts_with_three_intervals(built: Built) -> None:
    rows = built.home.lake.read("forecasts/predictions").to_pylist()
    assert {(row["symbol"], row["target"]) for row in rows} == {(s, t) for s in UNIVERSE for t in TARGETS}
    for row in rows:
        assert [interval["level"] for interval in row["intervals"]] == [0.8, 0.9, 0.95]
        lower = [interval["lower"] for interval in row["intervals"]]
        upper = [interval["upper"] for interval in row["intervals"]]
        assert sorted(lower, reverse=True) == lower
        assert lower[0] < row["mean"] < upper[0]
        assert sorted(upper) == upper
        assert (row["price"] is None) == (row["target"] == "volatility_5d")
        assert row["dagster_run_id"] == built.run_id


def test_a_newcomer_sees_how_the_newest_forecasts_came_out(built: Built, told: dict[str, Any]) -> None:
    """Sessions before the newest are forecast by models that have not seen them, so there is something to score."""
    forecasts, scores = (built.home.lake.read(f"forecasts/{table}").to_pylist() for table in ("predictions", "scores"))
    live = set(UNIVERSE) - {"IBM"}  # its series ends in a year that the models have learned from
    assert {row["symbol"] for row in forecasts if row["backfilled"]} == live
    assert {row["symbol"] for row in forecasts if not row["backfilled"]} == set(UNIVERSE)
    assert len(scores) == len(live) * len(TARGETS) * (HISTORY - 4)
    assert {row["id"] for row in scores} < {row["id"] for row in forecasts if row["backfilled"]}
    each = str(len(live) * (HISTORY - 4))
    assert [record.data["forecasts"] for record in told["forecasts/scores"]["by version"].records] == [each, each]
    states = built.home.lake.read("forecasts/interval_state").to_pylist()
    assert {(row["model"], row["symbol"]) for row in states} == {(t, s) for t in TARGETS for s in (*live, "*")}


def test_the_report_of_the_run_and_the_catalogue_are_there(built: Built, told: dict[str, Any]) -> None:
    settings = built.home.settings
    for suffix in ("html", "json"):
        assert (Path(settings.reports_uri) / "data_drift" / f"{built.run_id}.{suffix}").stat().st_size > 1000
    assert told["monitoring/data_drift"]["report"].endswith(f"/reports/data_drift/{built.run_id}.html")
    page = (Path(settings.catalog_uri) / "index.html").read_text()
    assert "bb_percent_b_20" in page
    assert told["catalog/dbt_docs"]["columns"] > 80


def test_nothing_is_left_in_the_checkout(built: Built) -> None:
    parsed = {"dbt_project/target/manifest.json", "dbt_project/target/partial_parse.msgpack"}
    assert built.left_in_checkout <= {"dbt_project/target", *parsed}
