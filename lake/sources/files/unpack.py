"""What is inside a compressed file, up to the size limit: a bomb is refused when its output passes the limit."""

import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import PurePosixPath

from lake.sources.files.cells import MAX_BYTES, UnreadableFileError, check_size

_BROKEN = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def unpack(content: bytes, filename: str) -> tuple[bytes, str]:
    """Content and name of the one file in a `.gz` or `.zip`; any other file comes back as it is.

    Nothing is written to disk, so the names inside an archive cannot lead anywhere.

    Raises
    ------
    UnreadableFileError : broken, encrypted, more than `MAX_BYTES`, or an archive of none or several files.
    """
    path = PurePosixPath(filename)
    unpacked = {".gz": _gunzip, ".zip": _unzip}.get(path.suffix.lower())
    if unpacked is None:
        check_size(len(content), filename)
        return content, filename
    try:
        content, suffix = unpacked(content, path)
    except UnreadableFileError:
        raise
    except _BROKEN as error:
        raise UnreadableFileError(f"{filename}: not a readable {path.suffix[1:].lower()} file ({error})") from error
    check_size(len(content), filename)
    return content, path.stem if path.stem.lower().endswith(suffix) else path.stem + suffix


def _gunzip(content: bytes, path: PurePosixPath) -> tuple[bytes, str]:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(MAX_BYTES + 1), PurePosixPath(path.stem).suffix.lower()


def _unzip(content: bytes, path: PurePosixPath) -> tuple[bytes, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
        if len(members) != 1:
            raise UnreadableFileError(f"{path.name}: holds {len(members)} files; one is expected, so unpack it first")
        with archive.open(members[0]) as file:
            return file.read(MAX_BYTES + 1), PurePosixPath(members[0].filename.replace("\\", "/")).suffix.lower()
