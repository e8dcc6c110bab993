"""What the tests of a table have not seen yet: the slices that were written since all of them last passed."""

from duckdb import DuckDBPyConnection

from lake.changes import changed_rows
from lake.slices import predicates
from lake.store import Lake, Snapshot

_KEY = ("symbol", "interval", "ts")
_TESTED = "tested"


def untested(connection: DuckDBPyConnection, lake: Lake, table: str, now: Snapshot) -> str:
    """Condition on the rows of a table that its tests have yet to read; all where nobody can say which these are.

    Slices are ranges of time of a series, with what lies ten days around: a test of unique keys finds the row that was
    there before, and one that compares neighbours finds these.
    """
    tested = lake.read_note(table).get(_TESTED)
    if tested is None:
        return "true"
    if Snapshot(*tested) == now:
        return "false"
    key = [name for name in _KEY if name in lake.columns(table)]
    rows = changed_rows(lake, table, Snapshot(*tested), now) if "ts" in key else None
    if rows is None:
        return "true"
    connection.execute(f"""
        create or replace temp table untested as
        with written as (select distinct {", ".join(key)} from ({rows}))
        select * replace (ts - interval 10 day as ts) from written
        union all
        select * replace (ts + interval 10 day as ts) from written
    """)
    return " or ".join(predicates(connection, "untested", key)) or "false"


def remember_tested(lake: Lake, table: str, now: Snapshot) -> None:
    """Note that all tests of a table have passed."""
    if lake.read_note(table).get(_TESTED) != list(now):
        lake.write_note(table, **{_TESTED: now})
