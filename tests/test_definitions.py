"""The code location: what the graph consists of, and that loading it stays light and up to date."""

import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from assets_pkg.definitions import build_definitions
from assets_pkg.materialize import select
from lake.tables import TABLES

# asset: (what it is made from, its checks apart from dbt's, in which a blocking one ends in "!")
GRAPH = {
    "raw/instruments": ((), ()),
    "raw/bars": (("raw/instruments",), ("keeps_schema!", "live_sources_deliver", "series_are_fresh")),
    "raw/sessions": (("raw/bars", "raw/instruments"), ()),
    "raw/corporate_actions": (("raw/instruments",), ()),
    "raw/macro": ((), ()),
    "raw/fundamentals": ((), ()),
    "raw/news": ((), ()),
    "raw/readings": (("raw/instruments",), ()),
    "raw/rejects": (("raw/instruments",), ()),
    "raw/flags": (("raw/instruments",), ("no_bar_was_flagged",)),
    "raw/resolutions": (("raw/rejects",), ()),
    "raw/batches": (("raw/instruments",), ("ledger_balances!",)),
    "raw/requests": (("raw/instruments",), ()),
    "market/bars": (("raw/bars", "raw/flags", "raw/instruments"), ()),
    "market/bars_back_adjusted": (("market/bars",), ()),
    "market/corporate_actions": (
        ("market/bars", "raw/bars", "raw/corporate_actions", "raw/instruments"),
        ("explain_adj_close",),
    ),
    "market/calendar_violations": (("market/bars", "raw/instruments", "raw/sessions"), ("sessions_are_complete",)),
    "market/reconciliation": (("raw/bars",), ("sources_agree",)),
    "market/indicators": (("market/bars", "raw/instruments", "raw/sessions"), ()),
    "market/cross_section": (("market/bars", "market/indicators", "raw/instruments", "raw/sessions"), ()),
    "market/features": (
        (
            "market/bars",
            "market/cross_section",
            "market/indicators",
            "raw/instruments",
            "raw/macro",
            "raw/news",
            "raw/sessions",
        ),
        (),
    ),
    "models/garch": (("market/features",), ()),
    "models/segments": (("market/features",), ()),
    "models/volatility_5d": (("market/features", "models/garch"), ()),
    "models/volatility_5d_champion": (("models/volatility_5d",), ("gate!", "learned_model_wins")),
    "models/return_5d": (("market/features", "models/garch", "models/volatility_5d_champion"), ()),
    "models/return_5d_champion": (("models/return_5d",), ("gate!", "learned_model_wins")),
    "models/evaluation": (("models/return_5d", "models/volatility_5d"), ()),
    "models/audit": (("models/return_5d_champion", "models/volatility_5d_champion"), ()),
    "forecasts/predictions": (
        ("market/features", "models/garch", "models/return_5d_champion", "models/volatility_5d_champion"),
        (),
    ),
    "forecasts/scores": (("forecasts/predictions", "market/bars"), ("intervals_cover",)),
    "forecasts/interval_state": (("forecasts/scores",), ()),
    "monitoring/data_drift": (("market/features",), ("no_drift",)),
    "catalog/dbt_docs": (("market/features",), ()),
    "upkeep/compaction": (("forecasts/interval_state",), ()),
    "upkeep/vacuum": (("upkeep/compaction",), ("pinned_versions_readable",)),
}
HEAVY = ("tensorflow", "keras", "mlflow", "evidently", "sklearn")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> AssetGraph:
    return definitions.resolve_asset_graph()


def python(code: str) -> str:
    """What a fresh interpreter prints; it must end well."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_the_code_location_imports_nothing_heavy() -> None:
    code = "import sys, assets_pkg.definitions as d; d.build_definitions(); print(*sorted(sys.modules))"
    loaded = set(python(code).split())
    assert "dagster" in loaded
    assert not loaded & set(HEAVY)


def test_nothing_of_dagster_that_is_on_its_way_out_is_used() -> None:
    code = """
import warnings, dagster
for words in ("is superseded", "is deprecated and will be removed in", "is currently in preview"):
    warnings.filterwarnings("error", message=f".*{words}")
from assets_pkg.definitions import build_definitions
build_definitions().get_repository_def()
"""
    python(code)


def test_the_graph_is_what_the_tour_says(graph: AssetGraph) -> None:
    found = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        checks = [check for check in node.check_keys if "dagster_dbt/unique_id" not in _spec(graph, check).metadata]
        names = sorted(check.name + "!" * graph.get(check).blocking for check in checks)
        found[key.to_user_string()] = (tuple(sorted(p.to_user_string() for p in node.parent_keys)), tuple(names))
    assert found == GRAPH


def test_every_table_of_dbt_is_tested(graph: AssetGraph) -> None:
    dbt = [check for check in graph.asset_check_keys if "dagster_dbt/unique_id" in _spec(graph, check).metadata]
    tested = {check.asset_key.to_user_string() for check in dbt}
    market = {asset for asset in GRAPH if asset.startswith("market/")}
    raw = ("bars", "corporate_actions", "flags", "instruments", "macro", "news", "sessions")
    assert tested == {f"raw/{table}" for table in raw} | market
    warnings = {check.name for check in dbt if not graph.get(check).blocking}
    assert warnings == {
        "bars_back_adjusted_agree_with_adj_close",
        "bars_do_not_overlap",
        "bars_of_live_sources_are_fresh",
    }


@pytest.mark.parametrize("asset", GRAPH)
def test_an_asset_says_what_it_is_and_whose(graph: AssetGraph, asset: str) -> None:
    node = graph.get(dg.AssetKey(asset.split("/")))
    assert node.group_name == asset.split("/", maxsplit=1)[0]
    assert node.kinds
    assert node.owners
    assert node.description
    assert node.is_executable
    if asset == "catalog/dbt_docs":
        return
    columns = node.metadata["dagster/column_schema"].columns
    assert columns
    assert not [column.name for column in columns if not column.description]


def test_declared_tables_are_assets_of_the_same_path(graph: AssetGraph) -> None:
    assert set(TABLES) <= {key.to_user_string() for key in graph.get_all_asset_keys()}


def test_schedules_and_sensors_run_from_the_start(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    schedules = {schedule.name: schedule.default_status for schedule in repository.schedule_defs}
    assert schedules == dict.fromkeys(("after_the_close", "sunday_morning"), dg.DefaultScheduleStatus.RUNNING)
    sensors = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}
    assert set(sensors) == {"automation", "landing_files", "run_failures", "run_successes"}
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}


def test_every_asset_without_a_schedule_follows_by_itself(graph: AssetGraph) -> None:
    still = {k.to_user_string() for k in graph.get_all_asset_keys() if graph.get(k).automation_condition is None}
    assert still == {asset for asset in GRAPH if asset.startswith(("raw/", "upkeep/"))}


@pytest.mark.parametrize(
    ("selection", "keys"),
    [
        ("*", set(GRAPH)),
        ("group:models", {asset for asset in GRAPH if asset.startswith("models/")}),
        ('key:"market/features"', {"market/features"}),
        ('key:"raw/bars"', {asset for asset in GRAPH if asset.startswith("raw/")}),
    ],
)
def test_a_selection_is_something_that_can_run(definitions: dg.Definitions, selection: str, keys: set[str]) -> None:
    selected = select(definitions, selection)
    assert {key.to_user_string() for key in selected} == keys
    definitions.resolve_job_def("everything").get_subset(asset_selection=set(selected))


def test_resources_can_be_replaced() -> None:
    replaced = build_definitions({"lakehouse": "another"})
    assert replaced.resources is not None
    assert replaced.resources["lakehouse"] == "another"
    assert set(replaced.resources) == {"lakehouse", "dbt", "mlflow"}


def _spec(graph: AssetGraph, check: dg.AssetCheckKey) -> dg.AssetCheckSpec:
    return graph.assets_def_for_key(check).get_spec_for_check_key(check)
