"""What a table consists of: rows, files, bytes and readable versions. From its log and a listing, not from its data."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake.files import Folder
from lake.settings import Settings
from lake.store import Lake

_COMMIT = re.compile(r"_delta_log/(\d{20})\.json")
_LOG_FILE = re.compile(r"_delta_log/(\d{20})\.(json|checkpoint.*\.parquet)")
_SESSION_COLUMNS = ("ts", "as_of")


@dataclass(frozen=True)
class Inventory:
    """A table as it lies on disk or S3.

    Attributes
    ----------
    version, rows, files, bytes : of the newest version.
    stored_bytes : all files below the table, older versions and the log included.
    readable : versions of which every file is there, ascending.
    newest : newest session, from the statistics of the files; None for a table without sessions.
    """

    version: int
    rows: int
    files: int
    bytes: int
    stored_bytes: int
    readable: tuple[int, ...]
    newest: datetime | None


def take_inventory(settings: Settings, table: str) -> Inventory:
    """The inventory of one table. Raises deltalake's `TableNotFoundError`."""
    lake = Lake.from_settings(settings)
    newest = DeltaTable(lake.path(table), storage_options=lake.storage_options)
    files = pa.table(newest.get_add_actions(flatten=True))
    folder = Folder(lake.path(table), settings)
    stored = {path: file.size for path, file in folder.files().items()}
    sessions = [f"max.{column}" for column in _SESSION_COLUMNS if f"max.{column}" in files.column_names]
    return Inventory(
        version=newest.version(),
        rows=pc.sum(files["num_records"]).as_py() or 0,
        files=files.num_rows,
        bytes=pc.sum(files["size_bytes"]).as_py() or 0,
        stored_bytes=sum(stored.values()),
        readable=_readable_versions(folder, stored),
        newest=pc.max(files[sessions[0]]).as_py() if sessions else None,
    )


@dataclass(frozen=True)
class Commit:
    """One version of a table, and the actions of the Delta protocol that it consists of."""

    version: int
    actions: tuple[dict[str, Any], ...]

    @property
    def info(self) -> dict[str, Any]:
        """What the writer says of it."""
        return next((entry["commitInfo"] for entry in self.actions if "commitInfo" in entry), {})

    @property
    def rows_added(self) -> int:
        """Rows of the files that it adds."""
        return sum(json.loads(entry["add"]["stats"])["numRecords"] for entry in self.actions if "add" in entry)

    def files(self, action: str, data_change: bool = False) -> frozenset[str]:
        """Paths, below the table, of the files that it adds (`add`) or removes (`remove`).

        Parameters
        ----------
        data_change : leave out what only moves rows from file to file, as compaction does.
        """
        found = (entry[action] for entry in self.actions if action in entry)
        return frozenset(unquote(file["path"]) for file in found if file["dataChange"] or not data_change)


def read_log(read: Callable[[str], bytes], paths: Iterable[str]) -> Iterator[Commit]:
    """The commits of a table, oldest first.

    Parameters
    ----------
    read : gives the content of a file below the table.
    paths : files below it, of which the commits are read.
    """
    commits = [match for match in map(_COMMIT.fullmatch, sorted(paths)) if match]
    with ThreadPoolExecutor() as pool:  # a commit is small, and on S3 each costs a round trip
        for match, content in zip(commits, pool.map(lambda found: read(found[0]), commits), strict=True):
            yield Commit(int(match[1]), tuple(json.loads(line) for line in content.splitlines()))


def version_of(path: str) -> int | None:
    """Version that a commit or a checkpoint of the log is of; None for another file."""
    match = _LOG_FILE.fullmatch(path)
    return int(match[1]) if match else None


def _readable_versions(folder: Folder, stored: Mapping[str, int]) -> tuple[int, ...]:
    """Replay the log: a version is readable while no file that it consists of is gone."""
    gone: set[str] = set()
    readable = []
    for commit in read_log(folder.read, stored):
        gone = (gone - commit.files("remove")) | (commit.files("add") - stored.keys())
        if not gone:
            readable.append(commit.version)
    return tuple(readable)
