"""Keeping tables quick and small: small files become large ones, and files that no kept version needs are deleted."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from lake.files import Folder
from lake.inventory import take_inventory
from lake.settings import Settings
from lake.store import Lake
from lake.tables import TABLES, TableSpec

_TARGET_BYTES = 100 * 2**20  # of a file
_WORTH_SAVING = 8  # files; fewer are not worth a new version of the table
_ATTEMPTS = 3

DONE, NOTHING_TO_DO, SKIPPED = "done", "nothing to do", "skipped: other writers were faster"


@dataclass(frozen=True)
class Compaction:
    """What compaction has done to a table; counts and bytes are those of its newest version."""

    table: str
    outcome: str
    version: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    seconds: float


@dataclass(frozen=True)
class Vacuum:
    """What vacuum has done to a table.

    Attributes
    ----------
    versions_readable : versions that can still be read.
    versions_pinned : of these, versions that are kept for good.
    pins_lost : versions that should have been kept and cannot be read.
    bytes_stored : all that is left below the table.
    """

    table: str
    outcome: str
    version: int
    files_deleted: int
    bytes_deleted: int
    bytes_stored: int
    versions_readable: int
    versions_pinned: int
    pins_lost: int
    seconds: float


def compact(lake: Lake, table: str) -> Compaction:
    """Write the small files of each partition as one, where that saves at least eight files.

    Rows, their order and older versions stay as they are. Where other writers keep being faster, nothing is done.
    """
    begun = time.monotonic()
    before = _open(lake, table)
    outcome = NOTHING_TO_DO
    if _spare_files(before) >= _WORTH_SAVING:
        outcome = _unless_others_are_faster(lambda: _open(lake, table).optimize.compact(target_size=_TARGET_BYTES))
    after = _open(lake, table)
    (files_before, bytes_before), (files_after, bytes_after) = _size(before), _size(after)
    return Compaction(
        table=table,
        outcome=outcome,
        version=after.version(),
        files_before=files_before,
        files_after=files_after,
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        seconds=time.monotonic() - begun,
    )


def remembering_versions(settings: Settings, table: str) -> set[int]:
    """Versions that alone remember what was known when: all of a raw table whose rows do not say it themselves."""
    spec = TABLES.get(table)
    if not table.startswith("raw/") or spec is None or spec.known_since:
        return set()
    return set(take_inventory(settings, table).readable)


def vacuum(settings: Settings, table: str, pinned: AbstractSet[int], retention_hours: int) -> Vacuum:
    """Delete the files that neither the newest version, nor a pinned one, nor a recent one consists of.

    What killed writers have left behind is deleted too. The log is kept whole: it is what makes old versions readable.

    Parameters
    ----------
    pinned : versions to keep for good.
    retention_hours : files that were replaced more recently are kept, for those who read them now.
    """
    begun = time.monotonic()
    lake = Lake.from_settings(settings)
    before = take_inventory(settings, table)
    kept = sorted(pinned & set(before.readable))

    def delete(dry_run: bool) -> list[str]:
        return _open(lake, table).vacuum(
            retention_hours, dry_run, enforce_retention_duration=False, full=True, keep_versions=kept
        )

    # delta-rs names files that are long gone, too, and would commit their deletion again every time.
    stored = {PurePosixPath(path).name: file.size for path, file in Folder(lake.path(table), settings).files().items()}
    useless = stored.keys() & {PurePosixPath(path).name for path in delete(dry_run=True)}
    outcome = _unless_others_are_faster(lambda: delete(dry_run=False)) if useless else NOTHING_TO_DO
    after = take_inventory(settings, table)
    return Vacuum(
        table=table,
        outcome=outcome,
        version=after.version,
        files_deleted=len(useless) if outcome == DONE else 0,
        bytes_deleted=sum(stored[name] for name in useless) if outcome == DONE else 0,
        bytes_stored=after.stored_bytes,
        versions_readable=len(after.readable),
        versions_pinned=len(pinned & set(after.readable)),
        pins_lost=len(pinned - set(after.readable)),
        seconds=time.monotonic() - begun,
    )


def record(
    lake: Lake, spec: TableSpec, rows: Sequence[Compaction | Vacuum], now: datetime, dagster_run_id: str
) -> None:
    """Append what a run has done to its table."""
    lake.create(spec.name)
    if rows:
        stamps = {"done_at": now, "dagster_run_id": dagster_run_id}
        lake.append(spec.name, pa.Table.from_pylist([asdict(row) | stamps for row in rows], schema=spec.schema))


def _open(lake: Lake, table: str) -> DeltaTable:
    return DeltaTable(lake.path(table), storage_options=lake.storage_options)


def _size(table: DeltaTable) -> tuple[int, int]:
    """Files and bytes of a version."""
    sizes = _files(table)["size_bytes"].to_pylist()
    return len(sizes), sum(sizes)


def _spare_files(table: DeltaTable) -> int:
    """How many files fewer there were if each partition had one small file."""
    files = _files(table)
    partitions = files.select([name for name in files.column_names if name.startswith("partition.")]).to_pylist()
    small = Counter(
        tuple(partition.values())
        for partition, size in zip(partitions or [{}] * files.num_rows, files["size_bytes"].to_pylist(), strict=True)
        if size < _TARGET_BYTES
    )
    return sum(small.values()) - len(small)


def _files(table: DeltaTable) -> pa.Table:
    return pa.table(table.get_add_actions(flatten=True))


def _unless_others_are_faster(work: Callable[[], object]) -> str:
    """Do it, again where another commit was faster; the outcome."""
    for _ in range(_ATTEMPTS):
        try:
            work()
            return DONE
        except CommitFailedError:
            time.sleep(random.uniform(0.1, 0.5))
    return SKIPPED
