"""The landing folder: files that wait to be ingested, on a local disk or S3, and where they go afterwards."""

import io
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec
import pandas as pd

from lake.ingest import BatchResult, ingest, ingest_unreadable
from lake.settings import Settings
from lake.sources.files import SUFFIXES, UnreadableFileError, read_bars
from lake.splice import FILE_SOURCE
from lake.store import Lake

_SETTLE_SECONDS = 2.0  # a file that was touched more recently may still be being written


@dataclass(frozen=True)
class LandedFile:
    """A file in the landing folder; `token` changes whenever the file does."""

    path: str
    token: str


class Landing:
    """The landing folder of the settings; created when it is missing."""

    def __init__(self, settings: Settings) -> None:
        options = {"endpoint_url": settings.s3_endpoint_url} if settings.landing_uri.startswith("s3://") else {}
        self._fs, self._root = fsspec.core.url_to_fs(settings.landing_uri, **options)
        self._fs.makedirs(self._root, exist_ok=True)

    def waiting(self) -> list[LandedFile]:
        """Files that wait, oldest first; files that are still being written are left for later."""
        self._fs.invalidate_cache()
        found = []
        for entry in self._fs.ls(self._root, detail=True):
            path = entry["name"]
            hidden = PurePosixPath(path).name.startswith(".")
            if entry["type"] != "file" or hidden or PurePosixPath(path).suffix.lower() not in SUFFIXES:
                continue
            modified = self._fs.modified(path).timestamp()
            if time.time() - modified >= _SETTLE_SECONDS:
                found.append((modified, LandedFile(path, f"{modified:.6f}-{entry['size']}")))
        return [file for _, file in sorted(found, key=lambda pair: (pair[0], pair[1].path))]

    def ingest(self, lake: Lake) -> list[BatchResult]:
        """Ingest every waiting file and move it to `processed/` (or `failed/`, when it cannot be read at all)."""
        return [self._ingest_one(lake, file) for file in self.waiting()]

    def _ingest_one(self, lake: Lake, file: LandedFile) -> BatchResult:
        name = PurePosixPath(file.path).name
        content = self._fs.cat_file(file.path)
        try:
            result, folder = ingest_content(lake, content, name), "processed"
        except UnreadableFileError as error:
            result, folder = ingest_unreadable(lake, content, name, str(error)), "failed"
        target = f"{self._root}/{folder}"
        self._fs.makedirs(target, exist_ok=True)
        self._fs.mv(file.path, f"{target}/{result.batch_id}-{name}")
        return result


def ingest_file(lake: Lake, path: Path) -> BatchResult:
    """Ingest one local file where it is.

    Raises
    ------
    UnreadableFileError : the file as a whole cannot be read.
    OSError : the file cannot be opened.
    """
    return ingest_content(lake, path.read_bytes(), path.name)


def ingest_content(lake: Lake, content: bytes, name: str) -> BatchResult:
    """Ingest the content of a CSV or Parquet file called `name`. Raises `UnreadableFileError`."""
    read = read_bars(io.BytesIO(content), name)
    originals: pd.Series = read.originals
    return ingest(lake, read.bars, FILE_SOURCE, name, originals=originals, unreadable=read.unreadable)
