"""kill -9 in the middle of any step: the next run does what is missing, and ends in the same lake."""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack

import dagster as dg
import pytest

from ml.registry import Registry
from tests.graph_kit import LAKEHOUSE, Built, Home, Started, compared, eventually, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("graph")]


def half_of_the_sources_are_in(home: Home) -> bool:
    return (home.path / "lake/raw/bars/_delta_log/00000000000000000001.json").exists()


def the_first_market_table_is_in(home: Home) -> bool:
    return (home.path / "lake/market/bars/_delta_log/00000000000000000000.json").exists()


def a_model_trains(home: Home) -> bool:
    database = home.path / "mlflow" / "mlflow.db"
    if not database.exists():
        return False
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        try:
            (runs,) = connection.execute("select count(*) from tags where value = 'models/volatility_5d'").fetchone()
        except sqlite3.OperationalError:  # no table yet
            return False
    return bool(runs)


def kill_when(moment: Callable[[Home], bool], home: Home, started: Started) -> None:
    """kill -9 of the command alone."""
    process = started.process
    eventually(lambda: moment(home) or process.poll() is not None, 120, moment.__name__)
    assert process.poll() is None, started.output
    process.kill()
    process.wait()


def test_killed_in_raw_in_market_and_in_training_it_ends_in_the_same_lake(
    built: Built, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path_factory.mktemp("killed") / "home")
    with ExitStack() as until_the_end:  # what kill -9 leaves behind (dbt) goes on beside the next run
        for moment in (half_of_the_sources_are_in, the_first_market_table_is_in, a_model_trains):
            command = (LAKEHOUSE, "materialize", *home.little_training, "--missing")
            kill_when(moment, home, until_the_end.enter_context(home.start(*command)))
        done = home.materialize("--missing")
    assert done.returncode == 0, done.stdout + done.stderr

    with home.instance() as instance:
        statuses = [run.status for run in instance.get_runs()]
    assert statuses == [dg.DagsterRunStatus.SUCCESS, *[dg.DagsterRunStatus.FAILURE] * 3]
    assert sorted(home.lake.tables()) == sorted(built.home.lake.tables())
    for table in compared(built.home):
        assert rows(home, table).equals(rows(built.home, table)), table
    client = Registry(home.settings).client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(experiments)} == {"FINISHED", "FAILED"}
