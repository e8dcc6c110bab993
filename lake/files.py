"""Files that are not tables (dropped prices, reports, the catalogue): a folder on a local disk or S3, by fsspec."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import fsspec

from lake.s3 import CLIENT_CONFIG, client_options, is_remote
from lake.settings import Settings

_PART = re.compile(r"\.[0-9a-f]{32}\.part")  # name of a file that is being written


@dataclass(frozen=True)
class File:
    """What a store says of a file: `modified` in UTC, `size` in bytes, `tag` its ETag on S3 and its inode on a disk."""

    modified: datetime
    size: int
    tag: str


class Folder:
    """A folder that comes into being with its first file; its files are named by their path below it.

    Parameters
    ----------
    uri : absolute path or `s3://bucket/prefix`.
    settings : give the endpoint of S3.
    """

    def __init__(self, uri: str, settings: Settings) -> None:
        self.uri = uri
        if is_remote(uri):
            # Other processes write there too, so a listing is never remembered.
            options = {
                "client_kwargs": client_options(settings),
                "config_kwargs": CLIENT_CONFIG,
                "use_listings_cache": False,
            }
        else:
            options = {"auto_mkdir": True}
        self._fs, self._root = fsspec.core.url_to_fs(uri, **options)

    def files(self, below: bool = True) -> dict[str, File]:
        """Its files by path, links left out; with `below` those of its folders too. Empty where it does not exist."""
        found = self._fs.find(self._root, maxdepth=None if below else 1, detail=True)
        return {
            path.removeprefix(self._root).lstrip("/"): _file(entry)
            for path, entry in found.items()
            if entry["type"] == "file"
        }

    def file(self, path: str) -> File:
        """What the store says of one file. Raises `FileNotFoundError`."""
        return _file(self._fs.info(self._path(path)))

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Content of a file, at most `limit` bytes. Raises `FileNotFoundError`."""
        content: bytes = self._fs.cat_file(self._path(path), end=limit)
        return content

    def chunks(self, path: str, size: int = 256 * 1024) -> Iterator[bytes]:
        """Content of a file, so many bytes at a time. Raises `FileNotFoundError` at once, not at the first chunk."""
        file = self._fs.open(self._path(path), "rb")

        def read() -> Iterator[bytes]:
            with file:
                while chunk := file.read(size):
                    yield chunk

        return read()

    def write(self, path: str, content: bytes) -> str:
        """Write a file so that a reader sees it whole or not at all; returns its URI."""
        part = PurePosixPath(path).with_name(f".{uuid.uuid4().hex}.part")
        self._fs.pipe_file(self._path(part), content)
        self._rename(self._path(part), self._path(path))
        return f"{self.uri}/{path}"

    def move(self, path: str, to: str) -> None:
        """Move a file to another path in this folder."""
        self._rename(self._path(path), self._path(to))

    def remove(self, path: str) -> None:
        """Delete a file."""
        self._fs.rm_file(self._path(path))

    def remove_parts(self) -> None:
        """Delete what writers that were killed have left behind."""
        for path in self.files():
            if _PART.fullmatch(PurePosixPath(path).name):
                self.remove(path)

    def _rename(self, path: str, to: str) -> None:
        if is_remote(self.uri):  # S3 cannot rename, and fsspec's own copy takes a [ in a name for a pattern
            self._fs.cp_file(path, to)
            self._fs.rm_file(path)
        else:
            self._fs.mv(path, to)

    def _path(self, path: str | PurePosixPath) -> str:
        return f"{self._root}/{path}"


def _file(entry: dict[str, Any]) -> File:
    if "LastModified" in entry:  # s3fs; the local filesystem has seconds
        return File(entry["LastModified"].astimezone(UTC), entry["size"], entry["ETag"])
    return File(datetime.fromtimestamp(entry["mtime"], UTC), entry["size"], str(entry["ino"]))
