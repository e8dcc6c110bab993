"""Slices: whatever changed between two states of a table, exchanging its slices gives the new state."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.slices import changed_keys, predicates
from lake.store import Lake

KEY = ("symbol", "interval", "ts")
Rows = dict[tuple[str, str, int], float | None]

NUMBERS = st.sampled_from([None, 1.0, 2.0, float("nan"), float("inf"), 1e-300])
IDENTITIES = st.tuples(st.sampled_from(["AAPL", "IBM", "O'N"]), st.sampled_from(["1d", "1h"]), st.integers(0, 100))
STATES = st.dictionaries(IDENTITIES, NUMBERS, max_size=40)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def table(rows: Rows) -> pa.Table:
    """Rows by symbol, interval and number of the session, one every ten days."""
    start = datetime(2000, 1, 1, tzinfo=UTC)
    times = [start + timedelta(days=10 * number) for *_, number in rows]
    return pa.table(
        {
            "symbol": pa.array([symbol for symbol, *_ in rows], pa.string()),
            "interval": pa.array([interval for _, interval, _ in rows], pa.string()),
            "ts": pa.array(times, pa.timestamp("us", tz="UTC")),
            "value": pa.array(rows.values(), pa.float64()),
            "year": pa.array([ts.year for ts in times], pa.int32()),
        }
    )


def slices_of(connection: duckdb.DuckDBPyConnection, old: Rows, new: Rows) -> list[str]:
    connection.register("old", table(old))
    connection.register("new", table(new))
    return changed_slices(connection)


def changed_slices(connection: duckdb.DuckDBPyConnection) -> list[str]:
    changed = changed_keys(connection, "new", "old", [*KEY, "year"])
    return predicates(connection, f"({changed})", KEY, ["year"])


def rows_of(connection: duckdb.DuckDBPyConnection, sql: str) -> Sequence[tuple[object, ...]]:
    return connection.sql(f"select * from ({sql}) order by all").fetchall()


def exchanged(connection: duckdb.DuckDBPyConnection, slices: Sequence[str]) -> str:
    chosen = " or ".join(slices) or "false"
    return f"select * from old where not ({chosen}) union all select * from new where {chosen}"


@settings(deadline=None, max_examples=60)
@given(old=STATES, new=STATES)
def test_exchanging_the_slices_gives_the_new_state(old: Rows, new: Rows) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        slices = slices_of(connection, old, new)
        assert repr(rows_of(connection, exchanged(connection, slices))) == repr(rows_of(connection, "from new"))
        same = repr(rows_of(connection, "from old")) == repr(rows_of(connection, "from new"))
        assert (slices == []) == same


def series(symbols: Sequence[str] = ("AAPL", "IBM", "SP500"), sessions: int = 80) -> Rows:
    return {(symbol, "1d", number): 1.0 + number for symbol in symbols for number in range(sessions)}


def test_symbols_that_share_a_span_share_a_slice_a_year(connection: duckdb.DuckDBPyConnection) -> None:
    new = series()
    for number in range(20, 80):
        new["AAPL", "1d", number] = new["IBM", "1d", number] = 0.0
    slices = slices_of(connection, series(), new)
    assert slices[0] == (
        """("year" = 2000 and "interval" = '1d' and "symbol" in ('AAPL', 'IBM') """
        """and "ts" between '2000-07-19T00:00:00+00:00' and '2000-12-26T00:00:00+00:00')"""
    )
    assert len(slices) == 3


def test_a_day_that_is_appended_touches_no_row_of_before(connection: duckdb.DuckDBPyConnection) -> None:
    (only,) = slices_of(connection, series(sessions=79), series(sessions=80))
    assert rows_of(connection, f"from old where {only}") == []


def test_a_null_in_the_middle_of_a_key_is_a_value(connection: duckdb.DuckDBPyConnection) -> None:
    old = table(series()).set_column(1, "interval", pa.nulls(len(series()), pa.string()))
    connection.register("old", old)
    connection.register("new", old.slice(1))
    (only,) = changed_slices(connection)
    assert len(rows_of(connection, f"from old where {only}")) == 1
    connection.register("new", old)
    assert changed_slices(connection) == []


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (100.0, 100.0 * (1 + 2e-16), True),
        (0.0, 1e-300, True),
        (float("nan"), float("nan"), False),
        (float("nan"), None, True),
        (1.0, float("nan"), True),
        (1.0, float("inf"), True),
        (float("inf"), 1.0, True),
        (None, None, False),
    ],
)
def test_the_last_bit_of_a_number_is_a_change(
    connection: duckdb.DuckDBPyConnection, before: float | None, after: float | None, changed: bool
) -> None:
    key = ("IBM", "1d", 0)
    assert bool(slices_of(connection, {key: before}, {key: after})) == changed


def test_scattered_changes_are_gathered_into_one_range_a_year(connection: duckdb.DuckDBPyConnection) -> None:
    old = {(f"S{number}", "1d", first): 1.0 for number in range(400) for first in (number % 17, 20 + number % 13)}
    slices = slices_of(connection, old, dict.fromkeys(old, 2.0))
    assert len(slices) == 1
    assert rows_of(connection, f"from new where {slices[0]}") == rows_of(connection, "from new")


def test_the_lake_takes_the_slices_and_leaves_other_files_alone(
    connection: duckdb.DuckDBPyConnection, lake: Lake
) -> None:
    old, new = series(), series()
    new["IBM", "1d", 45] = 0.0
    new["NEW'CO", "1d", 46] = 7.0
    del new["AAPL", "1d", 44]
    predicate = " or ".join(slices_of(connection, old, new))
    lake.replace("market/bars", table(old), partition_by=["year"])
    before = set(DeltaTable(lake.path("market/bars")).file_uris())
    lake.replace("market/bars", connection.sql(f"from new where {predicate}").to_arrow_table(), predicate)
    connection.register("written", lake.read("market/bars").select(table(new).column_names))
    assert rows_of(connection, "from written") == rows_of(connection, "from new")
    replaced = before - set(DeltaTable(lake.path("market/bars")).file_uris())
    assert ["year=2001" in path for path in replaced] == [True]
