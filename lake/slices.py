"""What differs between two states of a table, as slices: ranges of rows that one commit exchanges for new ones."""

from collections.abc import Iterator, Sequence

from duckdb import DuckDBPyConnection

from lake.duck import literal

_MOST_SLICES = 200  # delta-rs plans a predicate in a time that grows with the square of its terms


def changed_keys(connection: DuckDBPyConnection, new: str, old: str, key: Sequence[str]) -> str:
    """SQL that gives `key` of every row of which two relations do not say the same.

    It also gives whether `old` has it (`is_known`), and whether `new` does not (`is_gone`).

    Parameters
    ----------
    new, old : relations with the same columns, known to `connection`.
    key : columns that identify a row in either relation, and columns that follow from these.
    """
    columns = [name for (name, *_) in connection.execute(f"describe {new}").fetchall()]
    differs = [f'new."{name}" is distinct from old."{name}"' for name in ("present", *columns) if name not in key]
    keys = ", ".join(f'coalesce(new."{name}", old."{name}") as "{name}"' for name in key)
    return f"""
        select {keys}, old.present is not null as is_known, new.present is null as is_gone
        from (select *, true as present from {new}) as new
        full join (select *, true as present from {old}) as old on {same_key("new", "old", key)}
        where {" or ".join(differs)}
    """


def same_key(one: str, other: str, key: Sequence[str]) -> str:
    """Condition on which rows of two relations have the same key; null is the same as null."""
    return " and ".join(f'{one}."{name}" is not distinct from {other}."{name}"' for name in key)


def predicates(
    connection: DuckDBPyConnection, changed: str, key: Sequence[str], partition_by: Sequence[str] = ()
) -> list[str]:
    """Predicates that together select every row with one of the keys in a relation.

    A slice lies in one partition; it is a range, first to last change, of the last key column, for all first key
    columns that share it:
    `year = 2024 and interval = '1d' and symbol in ('AAPL', 'IBM') and ts between '2024-03-01' and '2024-12-30'`.
    Keys that would take more than 200 slices are gathered into one range a partition.

    Parameters
    ----------
    changed : relation with the columns `key` and `partition_by`, known to `connection`.
    key : columns that identify a row; the first and the last are never null.
    partition_by : partition columns of the table.

    Returns
    -------
    SQL for DuckDB and for delta-rs; empty where nothing has changed.
    """
    *others, ranged = key
    listed, same = others[:1], [*partition_by, *others[1:]]
    found = list(_slices(connection, changed, same, listed, ranged))
    if len(found) > _MOST_SLICES:
        found = list(_slices(connection, changed, list(partition_by), [], ranged))
    return found


def _slices(
    connection: DuckDBPyConnection, changed: str, same: list[str], listed: list[str], ranged: str
) -> Iterator[str]:
    """One slice for each set of `listed` values that share the first and last change in the same partition."""
    spans = f"""
        select {_quoted([*same, *listed], after=", ")} min("{ranged}") as first, max("{ranged}") as last
        from {changed}
        group by all
    """
    members = f'list("{listed[0]}" order by "{listed[0]}")' if listed else "null"
    groups = connection.execute(f"""
        select {_quoted(same, after=", ")} first, last, {members} as members
        from ({spans})
        group by {_quoted(same, after=", ")} first, last
        order by all
    """).fetchall()
    for *values, first, last, names in groups:
        terms = [
            f'"{column}" is null' if value is None else f'"{column}" = {literal(value)}'
            for column, value in zip(same, values, strict=True)
        ]
        if listed:
            terms.append(f'"{listed[0]}" in ({", ".join(map(literal, names))})')
        terms.append(f'"{ranged}" between {literal(first)} and {literal(last)}')
        yield f"({' and '.join(terms)})"


def _quoted(columns: Sequence[str], after: str = "") -> str:
    return ", ".join(f'"{column}"' for column in columns) + (after if columns else "")
