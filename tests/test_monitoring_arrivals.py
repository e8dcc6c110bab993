"""What has arrived, in words: how much from where, what was rejected and flagged; a line a batch, whatever its name."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lake.ingest import create_raw_tables
from lake.store import Lake
from lake.tables import TABLES
from monitoring.arrivals import arrivals

NOW = datetime(2026, 11, 20, tzinfo=UTC)
COUNTS = {"received": 2600, "accepted": 2500, "unchanged": 90, "rejected": 10, "flagged": 3}


def add(lake: Lake, table: str, **row: Any) -> None:
    schema = TABLES[table].schema
    row = {"source": "file", "origin": "a.csv", "raw_table": "raw/bars", "ingested_at": NOW, "flagged_at": NOW, **row}
    lake.append(table, pa.Table.from_pylist([{name: row.get(name) for name in schema.names}], schema=schema))


def test_only_the_batches_of_the_run_are_told_each_on_one_line(lake: Lake) -> None:
    create_raw_tables(lake)
    add(lake, "raw/batches", batch_id="1", **COUNTS)
    add(lake, "raw/batches", batch_id="2", **COUNTS | {"origin": "b\nrun failed.csv", "flagged": 0})
    add(lake, "raw/batches", batch_id="of another run", **COUNTS)
    for batch_id, rule in (("1", "jump"), ("1", "jump"), ("1", "frozen"), ("of another run", "jump")):
        add(lake, "raw/flags", batch_id=batch_id, rule=rule, symbol="A", interval="1d", ts=NOW, reason="r")
    told = arrivals(lake, ["1", "2"])
    assert told.title == "Arrived: 5,000 rows, 20 rejected, 3 flagged"
    assert sorted(told.text.splitlines()) == [
        "file a.csv: 2,600 received = 2,500 accepted + 90 unchanged + 10 rejected, 3 flagged",
        "file b run failed.csv: 2,600 received = 2,500 accepted + 90 unchanged + 10 rejected",
        "flagged by rule frozen: 1",
        "flagged by rule jump: 2",
    ]
