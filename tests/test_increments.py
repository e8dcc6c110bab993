"""Increments: whatever happens to the raw tables, tables built step by step are those that a full build gives."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from duckdb import DuckDBPyConnection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lake import increments
from lake.calendars import write_sessions
from lake.derived import register_functions
from lake.duck import connect, define_view
from lake.increments import Model, Written
from lake.store import Lake, Snapshot
from lake.tables import RAW_BARS, RAW_CORPORATE_ACTIONS, RAW_FLAGS, RAW_INSTRUMENTS, TABLES
from tests.bars import PRICES, walk
from tests.processes import dbt

pytestmark = pytest.mark.xdist_group("increments")
PROJECT = Path(__file__).parents[1] / "dbt_project"
FINDINGS = ("calendar_violations", "corporate_actions", "reconciliation")
MODELS = ("bars", "indicators", "cross_section", "features", "bars_back_adjusted", *FINDINGS)
SESSIONS, START = 330, "2021-10-01"  # so many of the long series are there at the start
KEY = ["symbol", "interval", "ts"]
CAUSAL = ("bars", "indicators", "cross_section", "features")
LEARNED = datetime(2024, 1, 1, tzinfo=UTC)


class Series(NamedTuple):
    """A series of the market: the number of its first session, and where it trades."""

    first: int = 0
    asset_class: str = "equity"
    currency: str = "USD"
    calendar: str = "XNYS"

    def prices(self, symbol: str, seed: int) -> pd.DataFrame:
        """All its sessions, those that are still to come among them."""
        bars = walk(symbol, SESSIONS + 100, START, seed).assign(asset_class=self.asset_class, currency=self.currency)
        if self.calendar == "24/7":
            bars["ts"] = pd.date_range(START, periods=len(bars), tz="UTC")
        return bars


SERIES = {
    "AAPL": Series(),
    "SP500": Series(asset_class="index"),
    "TOYOTA": Series(currency="JPY", calendar="XTKS"),
    "BITCOIN": Series(asset_class="crypto", calendar="24/7"),
    "VOLCAN": Series(SESSIONS - 30, currency="PEN", calendar="XLIM"),
    "LISTED": Series(SESSIONS),
}


@pytest.fixture(scope="session")
def models() -> list[Model]:
    """The models as dbt runs them, each after those that it reads."""
    return _models()


@cache  # for all test files of a process
def _models() -> list[Model]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        place = ["--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", folder, "--log-path", folder]
        done = dbt("run", "--select", *MODELS, *place, cwd=PROJECT, LAKEHOUSE_HOME=str(folder / "home"))
        assert done.returncode == 0, done.stdout
        manifest = json.loads((folder / "manifest.json").read_text())
        results = json.loads((folder / "run_results.json").read_text())["results"]
    nodes = manifest["nodes"]
    return [_model(nodes[result["unique_id"]]) for result in results if result["unique_id"].startswith("model.")]


def _model(node: dict[str, Any]) -> Model:
    options = ("changed_by", "lookback", "warm", "across_symbols", "sparse", "partition_by")
    return Model(
        table=f"{node['schema']}/{node['name']}",
        sql=node["compiled_code"],
        columns={name: column["data_type"] for name, column in node["columns"].items()},
        key=node["config"]["unique_key"],
        **{name: node["config"][name] for name in options if name in node["config"]},
    )


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBPyConnection]:
    """A connection like dbt's, which is shown one lake after the other: to load the Delta extension takes a while."""
    with connect(Lake(str(tmp_path_factory.mktemp("empty")))) as connection:
        register_functions(connection)
        connection.execute("set threads = 1")  # the tables are small
        yield connection


class Market:
    """A lake in which the models are built step by step."""

    def __init__(self, folder: Path, models: list[Model], engine: DuckDBPyConnection) -> None:
        self.connection = engine
        self.lake, self.models, self.sessions, self.hour = Lake(str(folder)), models, SESSIONS, 0
        self._prices = {symbol: series.prices(symbol, n) for n, (symbol, series) in enumerate(SERIES.items())}
        for table in TABLES:
            if table.startswith("raw/"):
                self.lake.create(table)

    def build(self, *tables: str, full_refresh: bool = False) -> dict[str, Written]:
        """Build these tables (default: all); what was written."""
        written: dict[str, Written] = {}
        snapshots: dict[str, Snapshot] = {}

        def show(*tables: str) -> None:
            for table in tables:
                if snapshot := self.lake.snapshot(table):
                    snapshots[table] = snapshot
                    define_view(self.connection, self.lake, table, snapshot.version)

        show(*self.lake.tables())
        for model in self.models:
            if not tables or model.table in tables:
                with self.connection.cursor() as cursor:
                    cursor.execute("set timezone = 'UTC'")
                    written[model.table] = increments.build(
                        cursor, self.lake, model, snapshots, full_refresh=full_refresh
                    )
                show(model.table)
        return written

    def bars(self, symbol: str, first: int, last: int) -> pd.DataFrame:
        """Sessions of a symbol, by their numbers; `last` is not among them."""
        return self._prices[symbol].iloc[max(first, SERIES[symbol].first) : last]

    def learn(self, bars: pd.DataFrame, source: str = "skfolio", late: bool = False) -> None:
        """Append a batch; a `late` one was stamped before those that are there."""
        number = self.lake.version("raw/bars") or 0
        rows = bars.assign(
            source=source,
            batch_id=f"batch-{number:03}",
            ingested_at=LEARNED + timedelta(hours=-1000 if late else number),
            year=bars["ts"].dt.year,
        )
        self.lake.append("raw/bars", pa.Table.from_pandas(rows, RAW_BARS.schema, preserve_index=False))

    def prefer(self, **sources: str) -> None:
        """Write raw/instruments: the source of each symbol, skfolio unless another is given."""
        rows = [
            {"symbol": symbol, "name": symbol, "asset_class": series.asset_class, "currency": series.currency}
            | {"calendar": series.calendar, "source": sources.get(symbol, "skfolio"), "fallbacks": ""}
            for symbol, series in SERIES.items()
        ]
        self.lake.replace("raw/instruments", pa.Table.from_pylist(rows, RAW_INSTRUMENTS.schema))

    def open(self) -> "Market":
        """The history that is there at the start."""
        self.prefer()
        self.learn(pd.concat([self.bars(symbol, 0, SESSIONS) for symbol in SERIES]))
        write_sessions(self.lake)
        return self

    # What may happen to it. `at` is a part of the history: 0 is its first session, 1 its last.

    def new_days(self, number: int) -> None:
        """The next sessions of all symbols."""
        self.learn(pd.concat([self.bars(symbol, self.sessions, self.sessions + number) for symbol in SERIES]))
        self.sessions += number

    def remove_newest_day(self) -> None:
        """The newest session of all symbols was never there; the next new day is this one."""
        self.sessions -= 1
        newest = pd.concat([self.bars(symbol, self.sessions, self.sessions + 1) for symbol in SERIES])
        keys = pa.Table.from_pandas(newest[KEY], pa.schema([RAW_BARS.schema.field(name) for name in KEY]))
        kept = self.lake.read("raw/bars").join(keys, KEY, join_type="left anti")
        self.lake.replace("raw/bars", kept.select(RAW_BARS.schema.names).cast(RAW_BARS.schema))

    def correct(self, symbol: str, at: float, factor: float, late: bool) -> None:
        """Another price, and another adjustment, for one session."""
        number = int(at * (self.sessions - 1))
        bar = self.bars(symbol, number, number + 1)
        self.learn(bar.assign(**{name: bar[name] * factor for name in PRICES[:4]}), late=late)

    def file(self, symbol: str, at: float) -> None:
        """A file with a few sessions, some of which the source did not deliver."""
        number = int(at * (self.sessions - 1))
        bars = self.bars(symbol, number, number + 3)
        self.learn(bars.assign(ts=bars["ts"] + pd.Timedelta(days=1)), source="file")

    def second_source(self, symbol: str, at: float) -> None:
        """Another source has some of the sessions too: a wrong price, opens that are made up, half of it adjusted."""
        number = int(at * (self.sessions - 1))
        bars = self.bars(symbol, number, number + 30)
        place = np.arange(len(bars))
        close = bars["close"] * np.where(place % 7 == 3, 1.01, 1.0)
        adjusted = close / np.where(place < 10, 2, 1)
        bars = bars.assign(close=close, adj_close=adjusted, open=bars["close"].shift().fillna(bars["open"]))
        self.learn(bars, source="bokeh")

    def action(self, symbol: str, at: float, value: float) -> None:
        """A dividend is delivered, corrected or withdrawn (0), perhaps one of a session that is still to come."""
        ts = self._prices[symbol]["ts"].iloc[int(at * self.sessions) + 3]
        number = self.lake.version("raw/corporate_actions") or 0
        row = {"symbol": symbol, "ts": ts, "kind": "dividend", "value": value, "currency": "USD", "source": "skfolio"}
        row |= {"batch_id": f"actions-{number:03}", "ingested_at": LEARNED + timedelta(hours=number)}
        self.lake.append("raw/corporate_actions", pa.Table.from_pylist([row], RAW_CORPORATE_ACTIONS.schema))

    def split(self, symbol: str) -> None:
        """From the next session on the adjustment of a symbol is another one."""
        self._prices[symbol].loc[self.sessions :, "adj_close"] *= 2
        self.new_days(1)

    def skip(self, number: int) -> None:
        """Sessions that nobody delivers."""
        self.sessions += number

    def other_source(self, symbol: str) -> None:
        """Another source is preferred, which has nothing: the series vanishes."""
        self.prefer(**{symbol: "bokeh"})

    def same_sources(self) -> None:
        """The table of instruments is written anew, and says what it said at the start."""
        self.prefer()

    def flag(self, symbol: str, at: float) -> None:
        """A bar is flagged."""
        number = int(at * (self.sessions - 1))
        for _, bar in self.bars(symbol, number, number + 1).iterrows():
            row = {"batch_id": "batch-000", "source": "skfolio", "origin": "test", "symbol": symbol, "interval": "1d"}
            row |= {"ts": bar["ts"], "rule": "jump", "reason": "It jumps.", "flagged_at": LEARNED}
            self.lake.append("raw/flags", pa.Table.from_pylist([row], RAW_FLAGS.schema))

    def hours(self, symbol: str, number: int) -> None:
        """The next hourly bars."""
        first = pd.Timestamp("2022-03-01T14:30Z") + pd.Timedelta(hours=self.hour)
        bars = self._prices[symbol].iloc[self.hour :][:number]
        self.learn(bars.assign(interval="1h", ts=pd.date_range(first, periods=len(bars), freq="h")))
        self.hour += number

    def news(self, symbol: str, at: float) -> None:
        """A headline in the evening of a session."""
        for ts in self.bars(symbol, 0, self.sessions)["ts"].iloc[int(at * (self.sessions - 1)) :][:1]:
            row = {"symbol": symbol, "ts": ts + pd.Timedelta(hours=22), "id": str(ts), "headline": "Shares plunge"}
            self._append("raw/news", row | {"source": "news"})

    def release(self, series: str, at: float, value: float) -> None:
        """A value of the month before is published, or revised; where the source is silent it says not when."""
        ts = self.bars("AAPL", 0, self.sessions)["ts"].iloc[int(at * (self.sessions - 1))]
        row = {"series": series, "ts": ts.replace(day=1) - pd.DateOffset(months=1), "value": value}
        is_dated = series not in ("PN01273PM", "TB3MS")
        self._append("raw/macro", row | {"source": "fred", "released_at": ts} if is_dated else row | {"source": "bcrp"})

    def _append(self, table: str, row: dict[str, Any]) -> None:
        learned = {"batch_id": f"batch-{self.lake.version(table):03}", "ingested_at": LEARNED}
        self.lake.append(table, pa.Table.from_pylist([row | learned], TABLES[table].schema))

    def compact(self, table: str) -> None:
        """Small files become one."""
        if self.lake.exists(table):
            DeltaTable(self.lake.path(table)).optimize.compact()

    def table(self, name: str) -> pa.Table:
        """Rows of a table in the order of its key."""
        (key,) = (model.key for model in self.models if model.table == name)
        return self.lake.read(name).sort_by([(column, "ascending") for column in key]).combine_chunks()

    def rebuilt(self, folder: Path) -> "Market":
        """The same raw tables in another place, with everything built at once."""
        shutil.copytree(Path(self.lake.uri) / "raw", folder / "raw")
        other = Market(folder, self.models, self.connection)
        other.build()
        return other


def assert_same(one: Market, other: Market) -> None:
    """All tables agree in all columns, to the last bit."""
    for model in one.models:
        ours, theirs = (market.table(model.table).to_pandas() for market in (one, other))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True, obj=model.table)


@pytest.fixture(scope="module")
def opened(models: list[Model], engine: DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a market with its history, built."""
    folder = tmp_path_factory.mktemp("market")
    Market(folder, models, engine).open().build()
    return folder


@pytest.fixture
def market(opened: Path, models: list[Model], engine: DuckDBPyConnection, tmp_path: Path) -> Market:
    """A market of this test's own."""
    return Market(shutil.copytree(opened, tmp_path / "lake"), models, engine)


SYMBOLS, PLACES = st.sampled_from(list(SERIES)), st.sampled_from([0.0, 0.1, 0.5, 0.95, 1.0])
EVENTS = st.one_of(
    st.tuples(st.just(Market.new_days), st.sampled_from([1, 1, 5])),
    st.tuples(st.just(Market.remove_newest_day)),
    st.tuples(st.just(Market.correct), SYMBOLS, PLACES, st.sampled_from([1.0, 1.01, 2.0]), st.booleans()),
    st.tuples(st.just(Market.file), SYMBOLS, PLACES),
    st.tuples(st.just(Market.other_source), SYMBOLS),
    st.tuples(st.just(Market.same_sources)),
    st.tuples(st.just(Market.second_source), SYMBOLS, PLACES),
    st.tuples(st.just(Market.action), SYMBOLS, PLACES, st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just(Market.split), SYMBOLS),
    st.tuples(st.just(Market.skip), st.sampled_from([1, 30])),
    st.tuples(st.just(Market.flag), SYMBOLS, PLACES),
    st.tuples(st.just(Market.hours), st.sampled_from(["AAPL", "SP500", "TOYOTA"]), st.sampled_from([1, 60])),
    st.tuples(st.just(Market.news), SYMBOLS, PLACES),
    st.tuples(
        st.just(Market.release),
        st.sampled_from(["FEDFUNDS", "TB3MS", "CPIAUCSL", "PN01273PM"]),
        PLACES,
        st.sampled_from([2.0, 3.0]),
    ),
    st.tuples(st.just(Market.compact), st.sampled_from(["raw/bars", *(f"market/{name}" for name in MODELS)])),
)


@settings(deadline=None, max_examples=2, print_blob=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.lists(EVENTS, min_size=1, max_size=3), min_size=2, max_size=3))
@example(
    steps=[
        [(Market.hours, "AAPL", 60), (Market.release, "TB3MS", 0.1, 2.0), (Market.action, "AAPL", 0.5, 0.5)],
        [
            (Market.release, "FEDFUNDS", 0.5, 3.0),
            (Market.news, "VOLCAN", 0.95),
            (Market.correct, "TOYOTA", 0.5, 1.01, False),
        ],
        [(Market.other_source, "BITCOIN"), (Market.release, "PN01273PM", 0.95, 3.0), (Market.new_days, 1)],
    ]
)
@example(
    steps=[
        [(Market.remove_newest_day,), (Market.correct, "SP500", 0.5, 2.0, True), (Market.other_source, "AAPL")],
        [(Market.new_days, 1), (Market.same_sources,), (Market.action, "VOLCAN", 0.95, 1.0)],
    ]
)
def test_increments_give_what_a_full_build_gives(
    opened: Path, models: list[Model], engine: DuckDBPyConnection, steps: list[list[tuple[Any, ...]]]
) -> None:
    with TemporaryDirectory() as folder:
        market = Market(shutil.copytree(opened, Path(folder) / "lake"), models, engine)
        for events in steps:
            for happens, *arguments in events:
                happens(market, *arguments)
            market.build()
        assert_same(market, market.rebuilt(Path(folder) / "rebuilt"))


def test_the_newest_day_removed_and_added_again_leaves_no_trace(market: Market) -> None:
    def state() -> dict[str, pd.DataFrame]:
        tables = {f"market/{name}": market.table(f"market/{name}").to_pandas() for name in CAUSAL}
        return {
            name: table.drop(columns=["batch_id", "ingested_at"], errors="ignore") for name, table in tables.items()
        }

    before = state()
    market.remove_newest_day()
    market.build()
    for name, past in state().items():
        assert len(past) == len(before[name]) - len(SERIES) + 1, name  # LISTED has none so far
        pd.testing.assert_frame_equal(past, before[name].merge(past[KEY]), check_exact=True, obj=name)
    market.new_days(1)
    written = market.build()
    for name, again in state().items():
        assert written[name].rows < 100, name
        pd.testing.assert_frame_equal(again, before[name], check_exact=True, obj=name)


def test_nothing_is_run_and_nothing_committed_where_nothing_has_changed(market: Market) -> None:
    market.compact("raw/bars")
    before = {model.table: market.lake.version(model.table) for model in market.models}
    assert {written.rows for written in market.build().values()} == {0}
    assert {model.table: market.lake.version(model.table) for model in market.models} == before


def test_a_new_day_is_one_row_a_series_and_leaves_all_files_alone(market: Market) -> None:
    files = {model.table: set(DeltaTable(market.lake.path(model.table)).file_uris()) for model in market.models}
    market.new_days(1)
    assert market.build("market/bars")["market/bars"].rows == len(SERIES)
    assert files["market/bars"] < set(DeltaTable(market.lake.path("market/bars")).file_uris())


def test_other_sql_is_a_full_build_in_one_commit(market: Market) -> None:
    (bars,) = (model for model in market.models if model.table == "market/bars")
    market.models = [replace(bars, sql=f"select * replace (2 * volume as volume) from ({bars.sql})")]
    before = market.table("market/bars")["volume"].to_pylist()
    assert market.build()["market/bars"] == Written(1, len(before), 1)
    assert market.table("market/bars")["volume"].to_pylist() == [2 * volume for volume in before]


def test_who_was_killed_between_two_models_is_caught_up_with(market: Market, tmp_path: Path) -> None:
    market.new_days(1)
    market.build("market/bars")
    market.correct("TOYOTA", 0.5, 1.01, late=False)
    market.build("market/bars")
    market.build()
    assert_same(market, market.rebuilt(tmp_path / "rebuilt"))


def test_where_files_of_then_are_gone_all_is_built(market: Market, tmp_path: Path) -> None:
    market.correct("TOYOTA", 0.5, 1.01, late=False)
    market.compact("raw/bars")
    DeltaTable(market.lake.path("raw/bars")).vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert market.build("market/bars")["market/bars"].rows == market.lake.row_count("market/bars")
    market.build()
    assert_same(market, market.rebuilt(tmp_path / "rebuilt"))


@pytest.fixture
def bars_only(market: Market) -> Market:
    """A market of which the bars alone are built, as that is quick."""
    market.models = [model for model in market.models if model.table == "market/bars"]
    return market


def test_a_full_refresh_builds_all_rows_in_one_commit(bars_only: Market) -> None:
    rows = bars_only.lake.row_count("market/bars")
    assert bars_only.build("market/bars")["market/bars"] == Written(0, 0, 0)
    assert bars_only.build("market/bars", full_refresh=True)["market/bars"] == Written(1, rows, 1)


def test_rows_that_only_vanish_are_counted(bars_only: Market) -> None:
    rows = bars_only.lake.read("market/bars", ["symbol"])["symbol"].to_pylist().count("AAPL")
    bars_only.other_source("AAPL")
    assert bars_only.build("market/bars")["market/bars"]._replace(slices=1) == Written(1, 0, 1, rows)


@pytest.mark.parametrize("event", [lambda it: it.new_days(2), lambda it: it.correct("AAPL", 0.5, 2.0, late=False)])
@pytest.mark.parametrize("kind", ["increments", "whole"])
def test_of_two_builds_at_once_the_slower_one_finds_nothing_left_to_do(
    bars_only: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: Callable[[Market], None], kind: str
) -> None:
    event(bars_only)
    commit = increments._write_whole if kind == "whole" else increments._write_changes
    other = Market(Path(bars_only.lake.uri), bars_only.models, bars_only.connection)

    def overtaken(*arguments: Any, **options: Any) -> Written | None:
        monkeypatch.undo()
        other.build("market/bars", full_refresh=kind == "whole")
        return commit(*arguments, **options)

    monkeypatch.setattr(increments, commit.__name__, overtaken)
    bars_only.build("market/bars", full_refresh=kind == "whole")
    bars_only.build()
    assert bars_only.lake.version("market/bars") == (2 if kind == "whole" else 1)
    assert_same(bars_only, bars_only.rebuilt(tmp_path / "rebuilt"))


def test_a_build_does_not_take_back_what_a_later_one_has_done(bars_only: Market) -> None:
    bars_only.new_days(1)
    (bars,) = bars_only.models
    snapshots = {table: snapshot for table in bars.changed_by if (snapshot := bars_only.lake.snapshot(table))}
    bars_only.new_days(1)
    bars_only.build("market/bars")
    with bars_only.connection.cursor() as cursor:
        assert increments.build(cursor, bars_only.lake, bars, snapshots) == Written(1, 0, 0)


def test_a_table_that_somebody_else_keeps_writing_is_left_alone(
    bars_only: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = increments._write_changes

    def overtaken(*arguments: Any, **options: Any) -> Written | None:
        DeltaTable(bars_only.lake.path("market/bars")).delete("symbol = 'nobody'")
        bars_only.lake.append("market/bars", bars_only.lake.read("market/bars").slice(0, 0))
        return commit(*arguments, **options)

    monkeypatch.setattr(increments, "_write_whole", lambda *_, **__: None)
    monkeypatch.setattr(increments, "_write_changes", overtaken)
    bars_only.new_days(1)
    with pytest.raises(increments.OvertakenError, match="market/bars is left as it is"):
        bars_only.build("market/bars")


@pytest.mark.parametrize(
    "write",
    [
        lambda table: table.restore(0),
        lambda table: table.delete("symbol = 'AAPL'"),
        lambda table: write_deltalake(table, table.to_pyarrow_table().slice(0, 3), mode="append"),
    ],
)
def test_what_somebody_else_has_written_is_built_over(
    bars_only: Market, tmp_path: Path, write: Callable[[DeltaTable], object]
) -> None:
    bars_only.new_days(1)
    bars_only.build()
    write(DeltaTable(bars_only.lake.path("market/bars")))
    bars_only.build()
    assert_same(bars_only, bars_only.rebuilt(tmp_path / "rebuilt"))


def test_maintenance_of_a_table_is_no_reason_to_build_it_anew(bars_only: Market) -> None:
    bars_only.new_days(1)
    bars_only.build()
    table = DeltaTable(bars_only.lake.path("market/bars"))
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    before = bars_only.lake.version("market/bars")
    bars_only.new_days(1)
    assert bars_only.build("market/bars")["market/bars"]._replace(slices=1) == Written(
        (before or 0) + 1, len(SERIES), 1
    )


def test_most_of_a_table_is_built_whole(bars_only: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(increments, "_PIECE_ROWS", 200)
    instruments = bars_only.lake.read("raw/instruments")
    place = instruments.schema.get_field_index("fallbacks")
    fallbacks = pa.array(["bokeh"] * instruments.num_rows)
    bars_only.lake.replace("raw/instruments", instruments.set_column(place, "fallbacks", fallbacks))
    assert bars_only.build()["market/bars"] == Written(1, bars_only.lake.row_count("market/bars"), 1)
