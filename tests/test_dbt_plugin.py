"""The dbt plugin as the materialization calls it: a lake table takes over what changed, and nothing else is written."""

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from dbt.adapters.duckdb.utils import TargetConfig, TargetLocation
from dbt_common.exceptions import DbtRuntimeError
from deltalake import DeltaTable

from lake.dbt_plugin import Plugin
from lake.store import Lake

TABLE, UPSTREAM = "market/closes", "given/closes"
BARS = """
    select symbol, '1d' as interval, ts, 100.0 + row_number() over (order by symbol, ts) as close, year(ts)::int as year
    from (values ('AAPL'), ('IBM'), ('SP500')) as symbols (symbol)
    cross join generate_series(timestamptz '2020-01-01', timestamptz '2022-12-31', interval 7 day) as sessions (ts)
"""


class Dbt:
    """What the materialization needs of dbt: a connection with the plugin on it, anew for each invocation."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def store(
        self, given: str, columns: str = "upstream.*", as_of: str = "", full_refresh: bool = False
    ) -> dict[str, Any]:
        """Store as `TABLE` what a model makes of some rows upstream; what was written."""
        self.lake.replace(UPSTREAM, self.rows(given))
        with duckdb.connect(":memory:") as connection:
            plugin = Plugin("dbt_plugin", {"as_of": as_of})
            plugin.configure_connection(connection)
            model = f"select {columns} from given.closes as upstream"
            scoped = f"{model} inner join _scope using (symbol, interval) where ts >= first_ts and /*first_ts*/ true"
            build = {
                "model": {
                    "sql": scoped,
                    "columns": {"close": "double"},
                    "key": ["symbol", "interval", "ts"],
                    "partition_by": ["year"],
                    "changed_by": {UPSTREAM: "select symbol, interval, ts from changes"},
                },
                "full_refresh": full_refresh,
            }
            target = TargetConfig(
                relation=TABLE,  # type: ignore[arg-type]
                column_list=[],
                config=build,
                location=TargetLocation(path=TABLE, format="build"),
            )
            plugin.store(target)
            shown = connection.sql("select * from market.closes order by all").to_arrow_table()
            assert shown.equals(connection.sql(f"select * from ({model}) order by all").to_arrow_table())
        return {name: build[name] for name in ("rows", "removed", "slices")}

    def rows(self, sql: str) -> pa.Table:
        with duckdb.connect(":memory:") as connection:
            connection.execute("set timezone = 'UTC'")
            return connection.sql(f"select * from ({sql}) order by all").to_arrow_table()


@pytest.fixture
def dbt(lake: Lake) -> Dbt:
    dbt = Dbt(lake)
    assert dbt.store(BARS) == {"rows": 3 * 157, "removed": 0, "slices": 1}
    return dbt


def files(lake: Lake) -> set[str]:
    return set(DeltaTable(lake.path(TABLE)).file_uris())


def test_the_same_rows_again_write_nothing(dbt: Dbt, lake: Lake) -> None:
    assert dbt.store(BARS) == {"rows": 0, "removed": 0, "slices": 0}
    assert lake.version(TABLE) == 0


def test_a_full_refresh_writes_the_same_rows_again(dbt: Dbt, lake: Lake) -> None:
    assert dbt.store(BARS, full_refresh=True) == {"rows": 3 * 157, "removed": 0, "slices": 1}
    assert lake.version(TABLE) == 1


def test_a_correction_writes_its_slice_in_one_commit(dbt: Dbt, lake: Lake) -> None:
    before, old = files(lake), lake.read(TABLE)
    corrected = f"from ({BARS}) select * replace (if(symbol = 'IBM' and ts >= '2021-12-20', 0, close) as close)"
    assert dbt.store(corrected) == {"rows": 54, "removed": 0, "slices": 2}
    assert lake.version(TABLE) == 1
    assert {path.split("/")[-2] for path in before & files(lake)} == {"year=2020"}
    assert lake.read(TABLE, version=0).equals(old)


def test_rows_appear_and_disappear(dbt: Dbt, lake: Lake) -> None:
    changed = f"from ({BARS}) select * replace (if(symbol = 'IBM', 'MSFT', symbol) as symbol) where ts < '2022-12-01'"
    dbt.store(changed)
    rows = lake.row_count(TABLE)
    assert dbt.store(f"from ({BARS}) where false")["removed"] == rows
    assert lake.row_count(TABLE) == 0
    assert lake.version(TABLE) == 2


def test_other_columns_rewrite_the_table(dbt: Dbt, lake: Lake) -> None:
    assert dbt.store(BARS, "upstream.*, close > 200 as dear") == {"rows": 3 * 157, "removed": 0, "slices": 1}
    assert lake.columns(TABLE)[-1] == "dear"


def test_a_key_with_two_rows_is_refused_and_nothing_written(dbt: Dbt, lake: Lake) -> None:
    twice = f"from ({BARS}) union all by name from ({BARS}) where symbol = 'IBM' and ts > '2022-12-20'"
    with pytest.raises(DbtRuntimeError, match="2 of its keys"):
        dbt.store(twice)
    assert lake.version(TABLE) == 0


def test_a_past_state_is_never_written(dbt: Dbt, lake: Lake) -> None:
    with pytest.raises(DbtRuntimeError, match=r"market/closes as of 2021-06-01 .* is not written"):
        dbt.store(f"from ({BARS}) where false", as_of="2021-06-01")
    assert lake.version(TABLE) == 0


def test_a_time_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="'yesterday' is not a time; write 2026-11-01"):
        Plugin("dbt_plugin", {"as_of": "yesterday"})
