"""From the bytes of a text file to its cells: encoding, separator, every line split alone, so none spoils another."""

import codecs
import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc

from lake.sources.files.cells import Cells, UnreadableFileError, check_shape, clip
from lake.sources.files.formats import headerless
from lake.sources.files.mapping import FileMapping

_SEPARATORS = "\t;|,"
_BOMS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_OTHER_KINDS = (
    (b"\x1f\x8b", "is compressed with gzip; name it .csv.gz"),
    (b"PK\x03\x04", "is a zip archive or an Excel workbook; save it as CSV, or name it .zip"),
    (b"\xd0\xcf\x11\xe0", "is an Excel workbook; save it as CSV"),
    (b"PAR1", "is a Parquet file; name it .parquet"),
    (b"%PDF", "is a PDF document"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first"),
    (b"<!", "is HTML or XML; was an error page saved in place of the data?"),
    (b"<html", "is HTML; was an error page saved in place of the data?"),
    (b"<?xml", "is XML; was an error page saved in place of the data?"),
    (b"{", "is JSON"),
    (b"[", "is JSON"),
)
_LONGEST_ROW = 10  # lines; a quote that does not close within them is a broken one
_CHUNK = 50_000  # rows


def read_text(content: bytes, filename: str, mapping: FileMapping | None) -> Cells:
    """Cells of a delimited text file.

    A row with too few or too many cells, broken quotes or a NUL is kept as a line. Blank lines and lines of empty
    cells hold nothing and are no rows.

    Raises
    ------
    UnreadableFileError : not text, no rows, too large, or a header that names a column twice.
    """
    mapping = mapping or FileMapping()
    for magic, kind in _OTHER_KINDS:
        if content[:100].lstrip()[: len(magic)].lower() == magic.lower():
            raise UnreadableFileError(f"{filename}: {kind}")
    check_shape(max(content.count(b"\n"), content.count(b"\r")) - 1, 0, filename)
    encoding = mapping.encoding or _encoding(content)
    lines = _lines(content, encoding, filename)
    first = next(lines, "")
    if first[:4].lower() == "sep=" and len(first) == 5:  # Excel's own hint
        mapping = mapping.model_copy(update={"separator": mapping.separator or first[4]})
        first = next(lines, "")
    if not first:
        raise UnreadableFileError(f"{filename}: not a readable csv file (it is empty)")
    separator = mapping.separator or max(_SEPARATORS, key=_outside_quotes(first).count)
    names = [name.strip() for name in _split(first, separator) or [first]]
    check_shape(0, len(names), filename)
    assumed = mapping.header or headerless(names)
    if assumed:
        if len(assumed) != len(names):
            raise UnreadableFileError(f"{filename}: {len(assumed)} columns are named, its first row has {len(names)}")
        names, lines = list(assumed), chain([first], lines)
    return _collect(lines, separator, _unique(names), encoding, filename)


def _encoding(content: bytes) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return encoding
    head = content[:1000]
    if head.count(0) * 4 > len(head) > 1 and len(head) % 2 == 0:
        return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"  # knows every byte: what is no text spoils its own row alone


def _lines(content: bytes, encoding: str, filename: str) -> Iterator[str]:
    """Lines that are not blank, without their ends."""
    try:
        for line in io.TextIOWrapper(io.BytesIO(content), encoding):
            if line.strip():
                yield line.rstrip("\n")
    except UnicodeError as error:
        raise UnreadableFileError(f"{filename}: not a readable csv file ({error})") from error


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _split(line: str, separator: str) -> list[str] | None:
    """Cells of a line; None where its quotes are broken."""
    if '"' not in line:
        return line.split(separator)
    try:
        (cells,) = csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        return None
    return cells


def _unique(names: Sequence[str]) -> list[str]:
    """Column names, with a number where a name is empty or has been there before."""
    unique: list[str] = []
    for position, name in enumerate(names, start=1):
        candidate = name or f"column {position}"
        while candidate in unique:
            candidate = f"{candidate} {position}"
        unique.append(candidate)
    return unique


def _collect(lines: Iterator[str], separator: str, names: list[str], encoding: str, filename: str) -> Cells:
    chunks: list[pa.Table] = []
    broken: dict[int, tuple[str, str]] = {}
    schema = pa.schema([(name, pa.string()) for name in names])
    rows = _rows(lines, separator, len(names))
    count = 0
    while chunk := list(islice(rows, _CHUNK)):
        broken |= {position: row for position, row in enumerate(chunk, start=count) if isinstance(row, tuple)}
        count += len(chunk)
        cells = [[""] * len(names) if isinstance(row, tuple) else row for row in chunk]
        columns = [pc.utf8_trim_whitespace(pa.array(column, pa.string())) for column in zip(*cells, strict=True)]
        chunks.append(pa.Table.from_arrays(columns, schema=schema))
    if not count:
        raise UnreadableFileError(f"{filename}: no rows")
    return Cells(pa.concat_tables(chunks).combine_chunks(), broken, encoding, separator)


def _rows(lines: Iterator[str], separator: str, width: int) -> Iterator[list[str] | tuple[str, str]]:
    """The cells of every row, or its line and what is wrong with it."""
    waiting: deque[str] = deque()
    while line := waiting.popleft() if waiting else next(lines, ""):
        if not line.strip(f'" {separator}'):
            continue
        if "\0" in line:
            yield line, "the line holds a NUL character; was the file written to its end?"
            continue
        cells = _split(line, separator)
        if cells is None:
            cells = _spanning(line, lines, waiting, separator, width)
        if cells is None:
            yield line, "quotes are broken"
        elif len(cells) == width or (
            len(cells) == width + 1 and not cells[-1].strip()
        ):  # one more separator at the end
            yield cells[:width]
        else:
            yield line, f"{len(cells)} cells where {width} are expected: {clip(line, 100)!r}"


def _spanning(line: str, lines: Iterator[str], waiting: deque[str], separator: str, width: int) -> list[str] | None:
    """Cells of a row whose quoted text goes on over the next lines; None, and no line used up, where it does not."""
    if line.count('"') % 2 == 0:
        return None
    waiting.extend(islice(lines, max(0, _LONGEST_ROW - len(waiting))))
    text = line
    for used, more in enumerate(waiting, start=1):
        text += "\n" + more
        if more.count('"') % 2:
            cells = _split(text, separator)
            if cells is None or len(cells) != width:
                return None
            for _ in range(used):
                waiting.popleft()
            return cells
    return None
