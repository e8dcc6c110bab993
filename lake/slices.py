"""What differs between two states of a table, as slices: ranges of rows that one commit exchanges for new ones."""

from collections.abc import Iterator, Sequence

from duckdb import DuckDBPyConnection

from lake.duck import literal

_MOST_SLICES = 200  # delta-rs plans a predicate in a time that grows with the square of its terms
_RELATIVE, _ABSOLUTE = 1e-12, 1e-14


def changed_slices(
    connection: DuckDBPyConnection, new: str, old: str, key: Sequence[str], partition_by: Sequence[str] = ()
) -> list[str]:
    """Predicates that together select every row of which two relations do not say the same.

    Replacing the rows of `old` that match any of them by those of `new` turns `old` into `new`. A slice lies in one
    partition; it is a range, first to last change, of the last key column, for all first key columns that share it:
    `year = 2024 and interval = '1d' and symbol in ('AAPL', 'IBM') and ts between '2024-03-01' and '2024-12-30'`.
    Changes that would take more than 200 slices are gathered into one range a partition.

    Two floating-point numbers within 1e-12 of each other (relative; 1e-14 near zero) are the same: the sums of a
    window differ in their last bits with the rows that a build computes beside them.

    Parameters
    ----------
    new, old : relations with the same columns, known to `connection`.
    key : columns that identify a row in either relation; the first and the last are never null.
    partition_by : partition columns of the table.

    Returns
    -------
    SQL for DuckDB and for delta-rs; empty when nothing differs.
    """
    *others, ranged = key
    changed = _changed_keys(connection, new, old, list(dict.fromkeys([*key, *partition_by])))
    connection.execute(f"create or replace temp table changed as {changed}")
    listed, same = others[:1], [*partition_by, *others[1:]]
    slices = list(_slices(connection, same, listed, ranged))
    if len(slices) > _MOST_SLICES:
        slices = list(_slices(connection, list(partition_by), [], ranged))
    return slices


def _changed_keys(connection: DuckDBPyConnection, new: str, old: str, identity: list[str]) -> str:
    columns = connection.execute(f"select column_name, column_type from (describe {new})").fetchall()
    differs = ["new.present is distinct from old.present"]
    for name, kind in columns:
        if name not in identity:
            ours, theirs = f'new."{name}"', f'old."{name}"'
            unequal = f"{ours} is distinct from {theirs}"
            if kind in ("DOUBLE", "FLOAT"):
                near = f"abs({ours} - {theirs}) <= {_ABSOLUTE} + {_RELATIVE} * abs({theirs})"
                unequal += f" and coalesce(not (isfinite({ours}) and isfinite({theirs}) and {near}), true)"
            differs.append(unequal)
    keys = ", ".join(f'coalesce(new."{name}", old."{name}") as "{name}"' for name in identity)
    same_key = " and ".join(f'new."{name}" is not distinct from old."{name}"' for name in identity)
    return f"""
        select {keys}
        from (select *, true as present from {new}) as new
        full join (select *, true as present from {old}) as old on {same_key}
        where {" or ".join(f"({condition})" for condition in differs)}
    """


def _slices(connection: DuckDBPyConnection, same: list[str], listed: list[str], ranged: str) -> Iterator[str]:
    """One slice for each set of `listed` values that share the first and last change in the same partition."""
    spans = f"""
        select {_quoted([*same, *listed], after=", ")} min("{ranged}") as first, max("{ranged}") as last
        from changed
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
