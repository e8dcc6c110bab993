"""The dbt plugin as the materialization calls it: a lake table takes over what changed, and nothing else is written."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from dbt.adapters.duckdb.utils import TargetConfig, TargetLocation
from dbt_common.exceptions import DbtRuntimeError
from deltalake import DeltaTable

from lake.dbt_plugin import Plugin
from lake.store import Lake

TABLE = "market/closes"
BARS = """
    select symbol, '1d' as interval, ts, 100.0 + row_number() over (order by symbol, ts) as close, year(ts)::int as year
    from (values ('AAPL'), ('IBM'), ('SP500')) as symbols (symbol)
    cross join generate_series(timestamptz '2020-01-01', timestamptz '2022-12-31', interval 7 day) as sessions (ts)
"""


class Dbt:
    """What the materialization needs of dbt: a connection with the plugin on it."""

    def __init__(self, as_of: str = "") -> None:
        self.connection = duckdb.connect(":memory:")
        self.plugin = Plugin("dbt_plugin", {"as_of": as_of})
        self.plugin.configure_connection(self.connection)

    def store(self, sql: str) -> dict[str, Any]:
        """Store what a query says as `TABLE`; what was written."""
        self.connection.execute(f"create or replace view main.query as {sql}")
        config = {"unique_key": ["symbol", "interval", "ts"], "partition_by": ["year"]}
        target = TargetConfig(
            relation="main.query",  # type: ignore[arg-type]
            column_list=[],
            config=config,
            location=TargetLocation(path=TABLE, format="delta"),
        )
        self.plugin.store(target)
        return {name: config[name] for name in ("rows", "slices")}

    def shown(self) -> pa.Table:
        """The table as later models of the same invocation read it."""
        return self.connection.sql("select * from market.closes order by all").to_arrow_table()


@pytest.fixture
def dbt(lake: Lake) -> Iterator[Dbt]:
    dbt = Dbt()
    assert dbt.store(BARS) == {"rows": 3 * 157, "slices": 1}
    yield dbt
    dbt.connection.close()


def files(lake: Lake) -> set[str]:
    return set(DeltaTable(lake.path(TABLE)).file_uris())


def test_the_same_rows_again_write_nothing(dbt: Dbt, lake: Lake) -> None:
    assert dbt.store(BARS) == {"rows": 0, "slices": 0}
    assert lake.version(TABLE) == 0


def test_a_correction_writes_its_slice_in_one_commit(dbt: Dbt, lake: Lake) -> None:
    before, old = files(lake), lake.read(TABLE)
    corrected = f"from ({BARS}) select * replace (if(symbol = 'IBM' and ts >= '2021-12-20', 0, close) as close)"
    assert dbt.store(corrected) == {"rows": 54, "slices": 2}
    assert lake.version(TABLE) == 1
    assert {path.split("/")[-2] for path in before & files(lake)} == {"year=2020"}
    expected = dbt.connection.sql(f"select * from ({corrected}) order by all").to_arrow_table()
    assert dbt.shown().equals(expected)
    assert lake.read(TABLE, version=0).equals(old)


def test_rows_appear_and_disappear(dbt: Dbt, lake: Lake) -> None:
    changed = f"from ({BARS}) select * replace (if(symbol = 'IBM', 'MSFT', symbol) as symbol) where ts < '2022-12-01'"
    dbt.store(changed)
    assert dbt.shown().equals(dbt.connection.sql(f"select * from ({changed}) order by all").to_arrow_table())
    dbt.store(f"from ({BARS}) where false")
    assert dbt.shown().num_rows == 0
    assert lake.version(TABLE) == 2


def test_other_columns_rewrite_the_table(dbt: Dbt, lake: Lake) -> None:
    assert dbt.store(f"select *, close > 200 as dear from ({BARS})") == {"rows": 3 * 157, "slices": 1}
    assert lake.columns(TABLE)[-1] == "dear"


def test_a_key_with_two_rows_is_refused_and_nothing_written(dbt: Dbt, lake: Lake) -> None:
    twice = f"from ({BARS}) union all by name from ({BARS}) where symbol = 'IBM' and ts > '2022-12-20'"
    with pytest.raises(DbtRuntimeError, match="2 of its keys"):
        dbt.store(twice)
    assert lake.version(TABLE) == 0


def test_a_past_state_is_never_written(dbt: Dbt, lake: Lake) -> None:
    with pytest.raises(DbtRuntimeError, match=r"market/closes as of 2021-06-01 .* is not written"):
        Dbt(as_of="2021-06-01").store(f"from ({BARS}) where false")
    assert lake.version(TABLE) == 0


def test_a_time_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="'yesterday' is not a time; write 2026-11-01"):
        Plugin("dbt_plugin", {"as_of": "yesterday"})
