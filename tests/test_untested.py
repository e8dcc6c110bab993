"""What dbt's tests read: all once, then only what was written since they last passed."""

import pandas as pd
import pyarrow as pa
import pytest

from lake.duck import connect
from lake.store import Lake, Snapshot
from lake.untested import remember_tested, untested
from tests.bars import walk

TABLE = "market/bars"


def rows(*symbols: str, sessions: int = 60) -> pa.Table:
    bars = pd.concat([walk(symbol, sessions) for symbol in symbols])
    return pa.Table.from_pandas(bars, preserve_index=False)


@pytest.fixture
def snapshot(lake: Lake) -> Snapshot:
    """Of a table whose tests have passed."""
    lake.replace(TABLE, rows("AAPL", "IBM"))
    found = lake.snapshot(TABLE)
    assert found is not None
    return found


def read(lake: Lake) -> pd.DataFrame:
    """The rows that a test reads now."""
    now = lake.snapshot(TABLE)
    assert now is not None
    with connect(lake) as connection:
        return connection.sql(f"from market.bars where {untested(connection, lake, TABLE, now)}").df()


def test_all_is_read_until_the_tests_have_passed_and_then_nothing(lake: Lake, snapshot: Snapshot) -> None:
    assert len(read(lake)) == 120
    remember_tested(lake, TABLE, snapshot)
    assert len(read(lake)) == 0


def test_what_was_written_since_is_read_until_the_tests_pass(lake: Lake, snapshot: Snapshot) -> None:
    remember_tested(lake, TABLE, snapshot)
    lake.append(TABLE, rows("AAPL", sessions=61).slice(60))
    corrected = rows("IBM").slice(30, 1)
    lake.append(TABLE, corrected)
    lake.append(TABLE, rows("NEW"))
    found = read(lake)
    assert found["symbol"].value_counts().to_dict() == {"NEW": 60, "IBM": 7 + 2 + 7, "AAPL": 7}
    assert (found["ts"] == corrected["ts"][0].as_py()).sum() == 3  # the row that was there before, and one of NEW


def test_a_table_with_other_columns_is_read_whole(lake: Lake, snapshot: Snapshot) -> None:
    remember_tested(lake, TABLE, snapshot)
    lake.replace(TABLE, rows("AAPL").drop_columns("volume"))
    assert len(read(lake)) == 60
