"""Rows that came or went between two versions of a table, from the commits in between."""

from lake import duck
from lake.duck import literal
from lake.inventory import read_log
from lake.store import Lake, Snapshot

SLICES = "slices"
"""What a commit says, in its custom metadata, of the rows that it exchanges: a predicate that all of them match."""

_MOST_COMPARED_ROWS = 2_000_000  # of a table that was written anew


def changed_rows(lake: Lake, table: str, then: Snapshot, now: Snapshot) -> str | None:
    """SQL of the rows that a table has now and did not have then, or the reverse: from the files that came and went.

    Returns
    -------
    None where that cannot be said: another table or other columns, files that are gone, or most of the table anew.
    """
    if then.id != now.id or then.version > now.version:
        return None
    names = [f"_delta_log/{version:020}.json" for version in range(then.version + 1, now.version + 1)]
    try:
        commits = list(read_log(lambda path: lake.read_file(table, path), names))
    except FileNotFoundError:
        return None
    appended, came, went, slices = set[str](), set[str](), set[str](), []
    for commit in commits:
        added, removed = (commit.files(action, data_change=True) for action in ("add", "remove"))
        (came if removed else appended).update(added)
        went |= removed
        if removed:
            slices.append(commit.info.get(SLICES, "true"))
    if appended & went:  # the rows of a file that was written anew are not only those of its slices
        came, appended, slices = came | appended, set(), ["true"]
    came, went = came - went, went - came
    other_columns = any("metaData" in action for commit in commits for action in commit.actions)
    too_many = "true" in slices and sum(commit.rows_added for commit in commits) > _MOST_COMPARED_ROWS
    if other_columns or too_many or not lake.has_files(table, appended | came | went):
        return None
    columns = ", ".join(f'"{name}"' for name in lake.columns(table))

    def rows(files: set[str], where: str = "true") -> str:
        if not files:
            return f"select {columns} from ({duck.scan(lake, table)}) where false"
        paths = ", ".join(literal(f"{lake.path(table)}/{path}") for path in sorted(files))
        return f"select {columns} from read_parquet([{paths}], hive_partitioning = true) where {where}"

    if not went:
        return rows(appended | came)
    new, old = (rows(files, " or ".join(slices)) for files in (came, went))
    return f"{rows(appended)} union all (({new}) except all ({old})) union all (({old}) except all ({new}))"
