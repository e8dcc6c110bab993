"""What the graph does by itself: what follows new bars, when models train again, what files start, who is told."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from assets_pkg import automation
from assets_pkg.assets import raw
from assets_pkg.definitions import build_definitions
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.settings import Settings
from tests.test_definitions import GRAPH
from tests.test_landing import drop
from tests.webhook import Webhook

MARKET = {asset for asset in GRAPH if asset.startswith("market/")}
FORECASTS = {asset for asset in GRAPH if asset.startswith("forecasts/")}
OF_EVERY_SESSION = {"models/garch", "models/segments"}
FOLLOWERS = MARKET | FORECASTS | OF_EVERY_SESSION | {"monitoring/data_drift", "catalog/dbt_docs"}
TRAINING = {"models/return_5d", "models/volatility_5d"}
SATURDAY = datetime(2050, 1, 1, 6, 5, tzinfo=UTC)
FRIDAY = SATURDAY - timedelta(days=1)


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    """The real graph."""
    logging.getLogger("dagster.automation_condition_tester").setLevel(logging.WARNING)  # a line a condition
    return build_definitions()


class World:
    """An event log and the automation that reads it: everything was made once, every check is green.

    Ticks take the real time, which is the time of the events; those about the clock start at `now`, in the future.
    """

    def __init__(self, definitions: dg.Definitions, made: bool = True, now: datetime | None = None) -> None:
        self.definitions, self.graph = definitions, definitions.resolve_asset_graph()
        self.instance = dg.DagsterInstance.ephemeral()
        self._cursor = None
        if made:
            self.make(*(key.to_user_string() for key in self.graph.toposorted_asset_keys))
            for check in self.graph.asset_check_keys:
                self.check(check.asset_key.to_user_string(), check.name)
        self.tick(now)

    @property
    def market_checks(self) -> set[str]:
        return {_name(check) for check in self.graph.asset_check_keys if check.asset_key.path[0] == "market"}

    def make(self, *assets: str) -> None:
        for asset in assets:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset.split("/")))

    def check(self, asset: str, name: str, passed: bool = True) -> None:
        key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name)
        severity = dg.AssetCheckSeverity.ERROR if self.graph.get(key).blocking else dg.AssetCheckSeverity.WARN
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=key.asset_key, check_name=name, passed=passed, severity=severity)
        )

    def tick(self, now: datetime | None = None) -> set[str]:
        """Evaluate every condition, now or at a later time; what is asked for, tests as `asset:check`."""
        result = dg.evaluate_automation_conditions(
            self.definitions,
            self.instance,
            asset_selection=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
            evaluation_time=now or datetime.now(UTC),
            cursor=self._cursor,
        )
        self._cursor = result.cursor
        return {_name(found.key) for found in result.results if found.true_subset.size}

    def start(self, *assets: str) -> None:
        """A run of these assets begins, and stays in progress."""
        keys = [dg.AssetKey(asset.split("/")) for asset in assets]
        job = self.definitions.resolve_job_def("everything").get_subset(asset_selection=set(keys))
        run = self.instance.create_run_for_job(job, asset_selection=frozenset(keys))
        self.instance.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, run.job_name), run_id=run.run_id
        )


def _name(key: object) -> str:
    if isinstance(key, dg.AssetCheckKey):
        return f"{key.asset_key.to_user_string()}:{key.name}"
    assert isinstance(key, dg.AssetKey)
    return key.to_user_string()


@pytest.fixture
def world(definitions: dg.Definitions) -> World:
    return World(definitions)


def assets(requested: set[str]) -> set[str]:
    return {name for name in requested if ":" not in name}


def test_an_idle_graph_asks_for_nothing(world: World) -> None:
    assert world.tick() == set()


def test_new_bars_bring_everything_but_training_in_one_tick_with_all_checks_of_market(world: World) -> None:
    world.make("raw/bars")
    requested = world.tick()
    assert assets(requested) == FOLLOWERS
    assert requested - FOLLOWERS == world.market_checks
    assert len(world.market_checks) > 30
    assert world.tick() == set()


def test_a_test_of_market_waits_for_its_table_not_for_what_else_it_reads(world: World) -> None:
    checks = [key for key in world.graph.asset_check_keys if key.asset_key.path[0] == "market"]
    assert {key: set(world.graph.get(key).parent_entity_keys) for key in checks} == {
        key: {key.asset_key} for key in checks
    }


@pytest.mark.parametrize(
    ("asset", "check", "followers"),
    [
        ("raw/bars", "keeps_schema", FOLLOWERS),
        ("market/features", "features_one_row_per_bar", FOLLOWERS - MARKET),
    ],
)
def test_a_failed_blocking_check_holds_back_what_follows(
    world: World, asset: str, check: str, followers: set[str]
) -> None:
    world.make(asset)
    world.check(asset, check, passed=False)
    assert assets(world.tick()) == set()
    world.make(asset)
    world.check(asset, check)
    assert assets(world.tick()) == followers


def test_dbt_run_by_hand_is_not_followed_by_a_run_of_its_tests(world: World) -> None:
    world.make(*MARKET)
    for test in world.market_checks:
        world.check(*test.split(":"))
    assert world.tick() == FOLLOWERS - MARKET


def test_a_failed_gate_holds_back_the_forecasts(world: World) -> None:
    world.check("models/return_5d_champion", "gate", passed=False)
    world.make("models/return_5d_champion")
    assert world.tick() == set()
    world.check("models/return_5d_champion", "gate")
    world.make("models/return_5d_champion")
    assert world.tick() == {"models/audit"} | FORECASTS


def test_a_warning_holds_nothing_back(world: World) -> None:
    world.check("raw/bars", "series_are_fresh", passed=False)
    world.check("models/volatility_5d_champion", "learned_model_wins", passed=False)
    world.make("raw/bars")
    assert assets(world.tick()) == FOLLOWERS


def test_new_models_go_before_the_gate_and_then_forecast(world: World) -> None:
    world.make("models/volatility_5d")
    requested = world.tick()
    assert requested == {"models/volatility_5d_champion", "models/evaluation", "models/audit"} | FORECASTS


def test_models_train_once_on_saturday(definitions: dg.Definitions) -> None:
    world = World(definitions, now=FRIDAY)
    assert world.tick(SATURDAY - timedelta(minutes=10)) == set()
    assert world.tick(SATURDAY) >= TRAINING
    assert world.tick(SATURDAY + timedelta(minutes=1)) == set()
    world.make(*TRAINING)
    assert not TRAINING & world.tick(SATURDAY + timedelta(minutes=2))
    assert not TRAINING & world.tick(SATURDAY + timedelta(days=6))
    assert world.tick(SATURDAY + timedelta(days=7)) >= TRAINING


def test_drift_trains_once_each_time_it_turns_red(world: World) -> None:
    world.check("monitoring/data_drift", "no_drift", passed=False)
    assert world.tick() >= TRAINING
    for _ in range(3):
        assert not TRAINING & world.tick()
    world.make(*TRAINING)
    world.check("monitoring/data_drift", "no_drift", passed=False)  # measured again: still red
    for _ in range(3):
        assert not TRAINING & world.tick()
    world.check("monitoring/data_drift", "no_drift")
    assert not TRAINING & world.tick()
    world.check("monitoring/data_drift", "no_drift", passed=False)
    assert world.tick() >= TRAINING
    assert not TRAINING & world.tick()


def test_training_that_runs_is_not_asked_for_again(definitions: dg.Definitions) -> None:
    world = World(definitions, now=FRIDAY)
    world.start("models/volatility_5d")
    assert "models/volatility_5d" not in world.tick(SATURDAY)


def test_an_empty_lake_trains_nothing(definitions: dg.Definitions) -> None:
    world = World(definitions, made=False, now=FRIDAY)
    assert not TRAINING & world.tick(SATURDAY)


def test_a_schedule_ingests_every_weekday_after_the_close(definitions: dg.Definitions) -> None:
    schedule = definitions.get_repository_def().get_schedule_def("after_the_close")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 17 * * 1-5", "America/New_York")
    job = definitions.resolve_job_def(schedule.job_name)
    assert {key.path[0] for key in job.asset_layer.selected_asset_keys} == {"raw"}


def test_a_schedule_keeps_the_tables_on_sunday_and_nothing_else_does(definitions: dg.Definitions, world: World) -> None:
    schedule = definitions.get_repository_def().get_schedule_def("sunday_morning")
    assert schedule.cron_schedule == "0 6 * * 0"
    keys = definitions.resolve_job_def(schedule.job_name).asset_layer.selected_asset_keys
    assert {key.to_user_string() for key in keys} == {"upkeep/compaction", "upkeep/vacuum"}
    world.make("forecasts/interval_state")
    assert world.tick() == set()


def landing_tick() -> dg.RunRequest | dg.SkipReason:
    found = automation.landing_files(lakehouse=LakehouseResource())
    assert isinstance(found, dg.RunRequest | dg.SkipReason)
    return found


def test_a_file_in_the_landing_folder_starts_one_run(settings: Settings) -> None:
    assert isinstance(landing_tick(), dg.SkipReason)
    drop(settings, "AAPL.csv", "date,close\n2022-12-29,130\n")
    first = landing_tick()
    assert isinstance(first, dg.RunRequest)
    assert first.tags["landing/files"] == "AAPL.csv"
    again = landing_tick()
    assert isinstance(again, dg.RunRequest)
    assert again.run_key == first.run_key
    drop(settings, "AAPL.csv", "date,close\n2022-12-29,131\n", age=20)
    changed = landing_tick()
    assert isinstance(changed, dg.RunRequest)
    assert changed.run_key != first.run_key


def test_a_file_that_is_still_being_written_starts_nothing(settings: Settings) -> None:
    drop(settings, "AAPL.csv", "date,cl", age=0)
    assert isinstance(landing_tick(), dg.SkipReason)


@pytest.fixture
def posted(settings: Settings, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> Webhook:
    """The webhook, in the environment that the sensors read."""
    monkeypatch.setenv("LAKEHOUSE_ALERT_WEBHOOK_URL", webhook.url)
    return webhook


def run_one(passed: bool, blocking: bool) -> tuple[dg.ExecuteInProcessResult, dg.DagsterInstance]:
    """A real run of one asset whose check ends as told."""

    @dg.asset(
        key=["market", "bars"], check_specs=[dg.AssetCheckSpec("gaps", asset=["market", "bars"], blocking=blocking)]
    )
    def bars() -> Iterator[dg.MaterializeResult[Any]]:
        severity = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
        result = dg.AssetCheckResult(passed=passed, severity=severity, description="3 sessions <missing>")
        yield dg.MaterializeResult(check_results=[result])

    instance = dg.DagsterInstance.ephemeral()
    return dg.materialize([bars], instance=instance, raise_on_error=False), instance


def test_a_failed_run_tells_which_check_has_failed(posted: Webhook) -> None:
    result, instance = run_one(passed=False, blocking=True)
    context = dg.build_run_status_sensor_context(
        "run_failures", result.get_run_failure_event(), instance, result.dagster_run
    )
    automation.run_failures(context.for_run_failure(), lakehouse=LakehouseResource())
    ((_, _, body),) = posted.posts
    assert result.run_id in body["text"]
    assert "ERROR market/bars gaps: 3 sessions &lt;missing&gt;" in body["text"]


@pytest.mark.parametrize("passed", [True, False])
def test_a_warning_of_a_run_that_worked_is_told(posted: Webhook, passed: bool) -> None:
    result, instance = run_one(passed=passed, blocking=False)
    context = dg.build_run_status_sensor_context(
        "run_successes", result.get_run_success_event(), instance, result.dagster_run
    )
    automation.run_successes(context, lakehouse=LakehouseResource())
    if passed:
        assert posted.posts == []
    else:
        ((_, _, body),) = posted.posts
        assert "WARN market/bars gaps: 3 sessions &lt;missing&gt;" in body["text"]


def ingest_run(instance: dg.DagsterInstance) -> dg.RunStatusSensorContext:
    """A real run of raw that has ended well, as its sensor sees it."""
    result = dg.materialize([raw.raw], instance=instance, resources={"lakehouse": LakehouseResource()})
    return dg.build_run_status_sensor_context(
        "run_successes", result.get_run_success_event(), instance, result.dagster_run
    )


def fail(*_: object) -> None:
    raise OSError("disk full")


def test_a_run_tells_what_has_arrived_and_one_that_brought_nothing_is_silent(
    settings: Settings, posted: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_UNIVERSE", "IBM")
    instance = dg.DagsterInstance.ephemeral()
    ingest_run(instance)
    drop(settings, "IBM.csv", "date,close\n2013-03-04,205\n2013-03-05,x\n2013-03-06,-1\n")
    with monkeypatch.context() as broken:
        broken.setattr(raw, "write_sessions", fail)  # after the file was taken
        with pytest.raises(OSError, match="disk full"):
            ingest_run(instance)
    context = ingest_run(instance)
    automation.run_successes(context, lakehouse=LakehouseResource())
    ((_, _, body),) = posted.posts
    assert body["text"].splitlines() == [
        "*Arrived: 1 rows, 2 rejected*",
        "file IBM.csv: 3 received = 1 accepted + 0 unchanged + 2 rejected",
        "rejected by rule price_positive: 1",
        "rejected by rule unreadable: 1",
        "newest session: 2013-03-04",
        f"(run {context.dagster_run.run_id})",
    ]
    automation.run_successes(ingest_run(instance), lakehouse=LakehouseResource())
    assert len(posted.posts) == 1
