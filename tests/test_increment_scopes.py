"""Scopes of increments: rows that follow from what happened far from them are built anew, those that do not are not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from duckdb import DuckDBPyConnection

from lake.increments import Model
from lake.tables import RAW_INSTRUMENTS, RAW_SESSIONS
from tests.bars import walk
from tests.test_increments import Market, assert_same, engine, models  # noqa: F401

pytestmark = pytest.mark.xdist_group("increments")
DAYS = pd.bdate_range("2023-01-02", periods=100, tz="UTC")
LISTED = {"name": "A", "asset_class": "equity", "currency": "USD", "calendar": "XNYS"} | {
    "source": "file",
    "fallbacks": "",
}
READ_OF_INSTRUMENTS = {
    "bars": {"source", "fallbacks"},
    "indicators": {"calendar"},
    "cross_section": {"calendar"},
    "features": {"calendar", "sector"},
    "calendar_violations": {"calendar"},
    "corporate_actions": {"source", "fallbacks"},
}


@pytest.fixture(params=READ_OF_INSTRUMENTS)
def reader(request: pytest.FixtureRequest, models: list[Model]) -> Model:  # noqa: F811
    (found,) = (model for model in models if model.table == f"market/{request.param}")
    return found


def test_of_an_edited_instrument_only_what_a_model_reads_has_consequences(
    reader: Model,
    engine: DuckDBPyConnection,  # noqa: F811
) -> None:
    read = set()
    for column in RAW_INSTRUMENTS.schema.names[1:]:
        ended = pd.Timestamp("2024-01-02", tz="UTC")
        before = LISTED | {"symbol": "A"}
        after = before | {column: ended if column == "ends_at" else "other"}
        changes = pa.Table.from_pylist([before, after], RAW_INSTRUMENTS.schema)  # noqa: F841
        with engine.cursor() as cursor:
            cursor.execute("create or replace temp table changes as from changes")
            if cursor.execute(reader.changed_by["raw/instruments"]).fetchall():
                read.add(column)
    assert read == READ_OF_INSTRUMENTS[reader.table.removeprefix("market/")]


def instruments(market: Market, **calendars: str) -> None:
    """Write raw/instruments: the calendar of each symbol."""
    rows = [LISTED | {"symbol": symbol, "calendar": calendar} for symbol, calendar in calendars.items()]
    market.lake.replace("raw/instruments", pa.Table.from_pylist(rows, RAW_INSTRUMENTS.schema))


def sessions(market: Market, days: pd.DatetimeIndex = DAYS, **hours: tuple[float, float]) -> None:
    """Write raw/sessions: opening and close of each calendar, in hours of the day."""
    rows = [
        {"calendar": calendar.replace("_", "/"), "ts": day, "early_close": False, "timezone": "UTC"}
        | {"opens_at": day + pd.Timedelta(hours=opening), "closes_at": day + pd.Timedelta(hours=closing)}
        for calendar, (opening, closing) in hours.items()
        for day in days
    ]
    market.lake.replace("raw/sessions", pa.Table.from_pylist(rows, RAW_SESSIONS.schema))


def bars(symbol: str, days: pd.DatetimeIndex = DAYS, **columns: object) -> pd.DataFrame:
    """A bar on each of some days."""
    return walk(symbol, len(days), seed=len(symbol)).assign(ts=days, **columns)


def last_day_of_a_coin(market: Market) -> Iterator[None]:
    """What trades always closes when the next day begins, and so does, for all that is known, an index then."""
    sessions(market, pd.date_range(DAYS[0], DAYS[-1], freq="D"), XNYS=(14, 21), **{"24_7": (0, 24)})
    coin, index = bars("COIN", asset_class="crypto"), bars("INDEX", asset_class="index")
    for first, last in ((0, 98), (98, 99), (99, 100)):
        market.learn(pd.concat([coin[first:last], index[first:last]]), "file")
        yield


def index_moves_to_another_exchange(market: Market) -> Iterator[None]:
    """An index that closes before other bars do is known to them a day earlier."""
    sessions(market, XNYS=(14, 21), XTKS=(0, 6))
    instruments(market, SP500="XNYS", ASIAN="XTKS")
    market.learn(pd.concat([bars("SP500"), bars("ASIAN")]), "file")
    yield
    instruments(market, SP500="XTKS", ASIAN="XTKS")
    yield


def saturday_after_a_gap(market: Market) -> Iterator[None]:
    """Sessions are missing before a bar that is in none, and after it."""
    sessions(market, XNYS=(14, 21))
    market.learn(bars("A", DAYS[:50]), "file")
    yield
    market.learn(bars("A", pd.DatetimeIndex(["2023-03-25"], tz="UTC")), "file")
    yield
    market.learn(bars("A", DAYS[65:66]), "file")
    yield


def only_saturdays_for_a_month(market: Market) -> Iterator[None]:
    """The bars of the last weeks are in no session, from which one could count."""
    sessions(market, XNYS=(14, 21))
    saturdays = pd.date_range("2023-03-18", periods=8, freq="7D", tz="UTC")
    market.learn(bars("A", DAYS[:50].append(saturdays)), "file")
    yield
    market.learn(bars("A", DAYS[96:97]), "file")
    yield


def session_is_no_session(market: Market) -> Iterator[None]:
    """The newest session of a series, which came after a gap, leaves the calendar; so does one with hours."""
    sessions(market, XNYS=(14, 21))
    hours = DAYS[60:63].repeat(5) + pd.to_timedelta([14, 15, 16, 17, 18] * 3, "h")
    market.learn(bars("A", DAYS[:50].append(DAYS[70:71])), "file")
    market.learn(bars("A", hours, interval="1h"), "file")
    yield
    sessions(market, DAYS.delete([62, 70]), XNYS=(14, 21))
    yield


def second_source_grows_longer(market: Market) -> Iterator[None]:
    """Two sources imply different actions; the one that still goes on gets more sessions than the other."""
    early, late = bars("A", DAYS[:30]), bars("A", DAYS[40:71])
    market.learn(early.assign(adj_close=early["close"].mask(early.index < 9, early["close"] / 2)), "a")
    late["adj_close"] = late["close"].mask(late.index < 5, late["close"] / 3)
    for first, last in ((0, 30), (30, 31)):
        market.learn(late[first:last], "b")
        yield


def few_bars_with_a_range(market: Market) -> Iterator[None]:
    """A close-only series with a few highs and lows, each by itself: the averages of the range go on from those."""
    days = pd.bdate_range("2021-01-04", periods=330, tz="UTC")
    series = bars("A", days)
    series.loc[series.index % 20 != 5, ["high", "low"]] = None
    for first, last in ((0, 325), (325, 326), (326, 330)):
        market.learn(series[first:last], "file")
        yield


def open_repeats_a_close_further_back(market: Market) -> Iterator[None]:
    """The tenth open that is the close of the last bar with an open: not of the bar before, which has none."""
    series = bars("A", DAYS[:60]).assign(open=lambda it: it["close"].shift(2))
    series.loc[series.index % 2 == 0, "open"] = None
    series.loc[series.index < 40, "open"] = 1.0
    for first, last in ((0, 59), (59, 60)):
        market.learn(series[first:last], "file")
        yield


def newest_bars_are_gone(market: Market) -> Iterator[None]:
    """What another source had appended, prices that differ, is taken back."""
    market.learn(bars("A"), "a")
    known = market.lake.read("raw/bars")
    market.learn(bars("A", DAYS[50:]), "b")
    yield
    market.lake.replace("raw/bars", known)
    yield


@pytest.mark.parametrize(
    ("history", "built"),
    [
        (last_day_of_a_coin, "bars indicators cross_section"),
        (index_moves_to_another_exchange, "bars indicators cross_section news_sentiment features"),
        (saturday_after_a_gap, "bars calendar_violations"),
        (only_saturdays_for_a_month, "bars calendar_violations"),
        (session_is_no_session, "bars calendar_violations"),
        (second_source_grows_longer, "bars corporate_actions"),
        (few_bars_with_a_range, "bars indicators"),
        (open_repeats_a_close_further_back, "bars reconciliation"),
        (newest_bars_are_gone, "bars reconciliation"),
    ],
)
def test_nothing_that_follows_is_missed(
    history: Callable[[Market], Iterator[None]],
    built: str,
    models: list[Model],  # noqa: F811
    engine: DuckDBPyConnection,  # noqa: F811
    tmp_path: Path,
) -> None:
    market = Market(
        tmp_path / "lake", [model for model in models if model.table.split("/")[1] in built.split()], engine
    )
    for _ in history(market):
        market.build()
    assert_same(market, market.rebuilt(tmp_path / "rebuilt"))
