"""The landing folder: files that wait to be ingested, on a local disk or S3, and where they go afterwards."""

import io
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from lake.files import File, Folder
from lake.ingest import BatchResult, ingest, ingest_unreadable
from lake.settings import Settings
from lake.sources.files import SUFFIXES, UnreadableFileError, holds_actions, read_actions, read_bars, read_cells
from lake.sources.files.cells import MAX_BYTES
from lake.sources.files.mapping import SUFFIX as MAPPING_SUFFIX
from lake.sources.files.mapping import FileMapping, find_mapping
from lake.splice import FILE_SOURCE
from lake.store import Lake
from lake.tables import RAW_READINGS

_KEPT_OF_NAME = 200  # bytes; a disk takes 255, and the batch id comes first
_SETTLE = timedelta(seconds=2)  # a file that was touched more recently may still be being written


@dataclass(frozen=True)
class LandedFile:
    """A file in the landing folder, as it was when it was found."""

    name: str
    file: File

    @property
    def token(self) -> str:
        """Changes whenever the file does."""
        return f"{self.file.modified.timestamp():.6f}-{self.file.size}-{self.file.tag}"


class Landing:
    """The landing folder of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._folder = Folder(settings.landing_uri, settings)

    def waiting(self) -> list[LandedFile]:
        """Files that wait, oldest first; files that are still being written are left for later."""
        settled = datetime.now(UTC) - _SETTLE
        found = [
            LandedFile(name, file)
            for name, file in self._folder.files(below=False).items()
            if not name.startswith(".") and name.lower().endswith(SUFFIXES) and file.modified <= settled
        ]
        return sorted(found, key=lambda landed: (landed.file.modified, landed.name))

    def ingest(self, lake: Lake) -> list[BatchResult]:
        """Ingest every waiting file and move it to `processed/` (or `failed/`, when it cannot be read at all).

        A file that is replaced meanwhile goes on waiting, for its new content.

        Raises
        ------
        OSError : the disk or store has refused a file, which goes on waiting; raised when all others are ingested.
        """
        waiting = self.waiting()
        mappings = self._mappings() if waiting else {}
        results, refused = [], []
        for landed in waiting:
            try:
                results.append(self._ingest_one(lake, landed, mappings))
            except OSError as error:
                refused.append(error)
        if refused:
            raise refused[0]
        return [result for result in results if result is not None]

    def _ingest_one(self, lake: Lake, landed: LandedFile, mappings: dict[str, str]) -> BatchResult | None:
        """None where another process has ingested the file and moved it meanwhile."""
        name = _readable(landed.name)
        try:
            content = self._folder.read(landed.name, limit=MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        try:
            result = ingest_content(lake, content, name, find_mapping(name, mappings))
            folder = "processed"
        except UnreadableFileError as error:
            result, folder = ingest_unreadable(lake, content, name, str(error)), "failed"
        with suppress(FileNotFoundError):  # another process has ingested the file at the same time and moved it first
            if self._folder.file(landed.name) == landed.file:
                ending = name.encode()[-_KEPT_OF_NAME:].decode(errors="ignore")
                self._folder.move(landed.name, f"{folder}/{result.batch_id}-{ending}")
        return result

    def _mappings(self) -> dict[str, str]:
        names = [name for name in self._folder.files(below=False) if name.endswith(MAPPING_SUFFIX)]
        return {name: self._folder.read(name).decode(errors="replace") for name in names}


def ingest_file(lake: Lake, path: Path) -> BatchResult:
    """Ingest one local file where it is, with the mapping files beside it.

    Raises
    ------
    UnreadableFileError : the file as a whole cannot be read, which is recorded as one reject.
    OSError : the file cannot be opened.
    """
    mappings = {p.name: p.read_text(errors="replace") for p in path.resolve().parent.glob(f"*{MAPPING_SUFFIX}")}
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    name = _readable(path.name)
    try:
        return ingest_content(lake, content, name, find_mapping(name, mappings))
    except UnreadableFileError as error:
        ingest_unreadable(lake, content, name, str(error))
        raise


def ingest_content(lake: Lake, content: bytes, name: str, mapping: FileMapping | None = None) -> BatchResult:
    """Ingest the content of a CSV or Parquet file called `name`. Raises `UnreadableFileError`."""
    cells, inner = read_cells(io.BytesIO(content), name, mapping)
    if holds_actions(cells):
        rows, unreadable = read_actions(cells, name)
        table = "raw/corporate_actions"
        return ingest(lake, rows, FILE_SOURCE, name, table=table, originals=cells.originals, unreadable=unreadable)
    read = read_bars(cells, inner, mapping)
    result = ingest(lake, read.bars, FILE_SOURCE, name, originals=read.cells.originals, unreadable=read.unreadable)
    row = {"batch_id": result.batch_id, "origin": name, "reading": json.dumps(asdict(read.reading))}
    lake.append_new("raw/readings", pa.Table.from_pylist([row], schema=RAW_READINGS.schema))
    return result


def _readable(name: str) -> str:
    """A file name as text: bytes that are none, which a disk allows, are written as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
