"""Any past state of knowledge: what the lake shows as of a time is what was really there at that time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from assets_pkg.resources.dbt import model_queries
from lake.derived import define_models
from lake.duck import connect, utc_time
from lake.ingest import ingest, write_instruments
from lake.tables import RAW_BARS, RAW_INSTRUMENTS, TABLES
from tests.bars import walk
from tests.graph_kit import Home
from tests.test_dbt_project import MODELS, Project

pytestmark = pytest.mark.xdist_group("as_of")
SYMBOLS = ("AAPL", "IBM", "SP500")
CORRECTED = pd.Timestamp("2022-03-28", tz="UTC")


@dataclass(frozen=True)
class History:
    """A lake that learned in two steps, the moments between them, and what its tables said at each."""

    project: Project
    queries: Mapping[str, str]
    before: datetime
    between: datetime
    first: Mapping[str, pd.DataFrame]
    second: Mapping[str, pd.DataFrame]

    def table(self, name: str, as_of: datetime) -> pd.DataFrame:
        """A table as it was known at a time."""
        with connect(self.project.lake, as_of=as_of) as connection:
            define_models(connection, self.queries)
            return connection.sql(f"select * from {name.replace('/', '.')} order by all").df()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("as_of")
    project = Project(folder / "home", folder / "target")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LAKEHOUSE_HOME", str(project.home))
        queries = model_queries()
    lake = project.lake

    def built() -> dict[str, pd.DataFrame]:
        project.dbt("run")
        with connect(lake) as connection:
            tables = [*MODELS, "raw/bars", "raw/batches"]
            return {name: connection.sql(f"from {name.replace('/', '.')} order by all").df() for name in tables}

    before = datetime.now(UTC)
    write_instruments(lake, SYMBOLS)
    bars = pd.concat([walk(symbol, 120, seed=seed) for seed, symbol in enumerate(SYMBOLS)])
    ingest(lake, bars, "skfolio", "test")
    ingest(lake, bars.assign(volume=1.0), "bokeh", "test")
    first, between = built(), datetime.now(UTC)

    corrected = bars.query("symbol == 'AAPL' and ts == @CORRECTED")
    ingest(lake, corrected.assign(close=77.0, adj_close=77.0, low=70.0), "skfolio", "correction")
    ingest(lake, walk("SP500", 121, seed=2).tail(1), "skfolio", "next day")
    instruments = lake.read("raw/instruments").to_pylist()
    for instrument in instruments:
        instrument["source"] = "skfolio"  # until now IBM came from bokeh
    lake.replace("raw/instruments", pa.Table.from_pylist(instruments, schema=RAW_INSTRUMENTS.schema))
    return History(project, queries, before, between, first, built())


@pytest.mark.parametrize("name", [*MODELS, "raw/bars", "raw/batches"])
def test_a_past_state_is_what_was_really_there(history: History, name: str) -> None:
    assert not history.first[name].equals(history.second[name])
    for then, time in ((history.first, history.between), (history.second, datetime.now(UTC))):
        pd.testing.assert_frame_equal(history.table(name, time), then[name], rtol=1e-12, atol=1e-14)


def test_the_source_that_was_preferred_then_counts(history: History) -> None:
    sources = {
        time: history.table("market/bars", time).groupby("symbol")["source"].unique().str.join(",").to_dict()
        for time in (history.between, datetime.now(UTC))
    }
    assert [by_symbol["IBM"] for by_symbol in sources.values()] == ["bokeh", "skfolio"]


@pytest.mark.parametrize("name", [*MODELS, "raw/bars", "raw/batches", "raw/instruments"])
def test_before_the_first_ingestion_nothing_was_known(history: History, name: str) -> None:
    now = history.table(name, datetime.now(UTC))
    for time in (history.before, datetime(1970, 1, 1, tzinfo=UTC)):
        then = history.table(name, time)
        assert (len(then), list(then)) == (0, list(now))


def test_the_command_answers_as_of_a_time(history: History) -> None:
    sql = "select ema_12 from market.indicators where symbol = 'AAPL' order by ts desc limit 1 offset 50"
    said = Home(history.project.home).run("query", sql, "--as-of", history.between.isoformat())
    assert said.returncode == 0, said.stderr
    then, now = (
        state["market/indicators"].query("symbol == 'AAPL'")["ema_12"].iloc[-51]
        for state in (history.first, history.second)
    )
    assert abs(then - now) > 0.1
    assert f"{then:.10f}" in said.stdout


def test_a_time_that_is_none_is_one_line(history: History) -> None:
    said = Home(history.project.home).run("query", "select 1", "--as-of", "2026-13-01")
    assert said.returncode == 1
    assert said.stderr.startswith("lakehouse: '2026-13-01' is not a time; write 2026-11-01, ")
    assert said.stderr.count("\n") == 1


def test_dbt_tests_a_past_state_and_writes_none(history: History) -> None:
    before = history.project.state()
    variables = json.dumps({"as_of": history.between.isoformat()})
    results = history.project.dbt("build", "--exclude-resource-type", "unit_test", "--vars", variables)
    assert sum(name.startswith("test.") for name in results) > 30
    assert not any(name.startswith("model.") for name in results)
    assert history.project.state() == before


def test_dbt_shows_a_past_state_and_the_macro_one_before_it(history: History) -> None:
    versions = "source('raw', 'bars'), ['symbol', 'interval', 'ts', 'source']"
    batches = history.first["raw/batches"].sort_values("ingested_at")
    sql = f"""
        select close,
            (select count(*) from {{{{ known_at({versions}) }}}}) as versions,
            (select count(*) from {{{{ known_at({versions}, '{batches["ingested_at"].iloc[0]}') }}}}) as versions_before
        from {{{{ ref('bars') }}}}
        where symbol = 'AAPL' and ts = '{CORRECTED}'
    """
    past = json.dumps({"as_of": history.between.isoformat()})
    said = history.project.printed("--quiet", "show", "--inline", sql, "--output", "json", "--vars", past)
    (then,) = json.loads(said)["show"]
    close = history.first["market/bars"].query("symbol == 'AAPL' and ts == @CORRECTED")["close"].item()
    assert then == {"close": pytest.approx(close), "versions": 720, "versions_before": 360}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:00", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        ("2026-11-01 12:00:30Z", datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC)),
        ("2026-11-01T12:00+01:00", datetime(2026, 11, 1, 11, tzinfo=UTC)),
    ],
)
def test_times_are_utc_unless_they_have_a_zone(text: str, time: datetime) -> None:
    assert utc_time(text) - time == timedelta(0)


def test_every_append_only_table_says_since_when_a_row_is_known() -> None:
    forgotten = [name for name, spec in TABLES.items() if "Append-only" in spec.description and not spec.known_since]
    assert forgotten == []
    assert RAW_BARS.known_since == "ingested_at"
