"""The cells of a file, all of them text, the lines that could not be split into cells, and the limits of a file."""

import json
from dataclasses import dataclass, field

import pandas as pd
import pyarrow as pa

MAX_BYTES = 256 * 2**20  # unpacked; 2 million rows of minute bars are about 160 MB
MAX_ROWS = 2_000_000  # minute bars of one stock for 20 years
MAX_COLUMNS = 200
_KEPT_OF_CELL = 10_000  # characters


class UnreadableFileError(ValueError):
    """The file as a whole cannot be read; the message names it and says what is wrong."""


@dataclass(frozen=True)
class Cells:
    """A file as text.

    Attributes
    ----------
    table : one string column a column of the file and one row a row, in the file's order; an empty cell is "".
    broken : rows that could not be split into cells: position to (the line, what is wrong with it). All their cells
        are "".
    encoding, separator : how the text was read; "" for Parquet.
    """

    table: pa.Table
    broken: dict[int, tuple[str, str]] = field(default_factory=dict)
    encoding: str = ""
    separator: str = ""

    def originals(self, rows: pd.Index) -> pd.Series:
        """Text of some rows as JSON: an object of the cells by column, or a string where the line has no cells."""
        found = self.table.take(pa.array(rows, pa.int64())).to_pylist()
        texts = [
            clip(self.broken[row][0]) if row in self.broken else {name: clip(cell) for name, cell in cells.items()}
            for row, cells in zip(rows, found, strict=True)
        ]
        return pd.Series([json.dumps(text, ensure_ascii=False) for text in texts], index=rows, dtype=object)


def clip(text: str, limit: int = _KEPT_OF_CELL) -> str:
    """A text, or its beginning and its length where it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def check_size(size: int, filename: str) -> None:
    """Refuse more than `MAX_BYTES`. Raises `UnreadableFileError`."""
    if size > MAX_BYTES:
        raise UnreadableFileError(f"{filename}: more than {MAX_BYTES / 2**20:.0f} MiB; split it")


def check_shape(rows: int, columns: int, filename: str) -> None:
    """Refuse more than `MAX_ROWS` or `MAX_COLUMNS`. Raises `UnreadableFileError`."""
    if rows > MAX_ROWS:
        raise UnreadableFileError(f"{filename}: more than {MAX_ROWS:,} rows; split it")
    if columns > MAX_COLUMNS:
        raise UnreadableFileError(f"{filename}: {columns:,} columns, at most {MAX_COLUMNS} are read")
