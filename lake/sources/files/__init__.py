"""Bars, splits and dividends from files: cells are read as text, so a bad row is rejected alone, as it was."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import pandas as pd

from lake.sources.files.actions import holds_actions, read_actions
from lake.sources.files.cells import Cells, UnreadableFileError
from lake.sources.files.mapping import FileMapping
from lake.sources.files.parquet import read_parquet
from lake.sources.files.reading import Reading, interpret, plan
from lake.sources.files.text import read_text
from lake.sources.files.unpack import unpack

__all__ = ["SUFFIXES", "FileBars", "UnreadableFileError", "holds_actions", "read_actions", "read_bars", "read_cells"]

SUFFIXES = (".csv", ".parquet", ".tsv", ".csv.gz", ".tsv.gz", ".zip")
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class FileBars:
    """What a file holds, row by row.

    Attributes
    ----------
    bars : columns `BAR_COLUMNS`; a cell that cannot be read is null; `ts` is tz-aware UTC.
    cells : the file's text.
    unreadable : what could not be read in a row, in words; null where all was.
    reading : how it was read.
    """

    bars: pd.DataFrame
    cells: Cells
    unreadable: pd.Series
    reading: Reading


def read_cells(file: IO[bytes], filename: str, mapping: FileMapping | None = None) -> tuple[Cells, str]:
    """Cells of a CSV or Parquet file, and its name without that of a compression around it.

    Raises
    ------
    UnreadableFileError : the file as a whole cannot be read.
    """
    content, inner = unpack(file.read(), filename)
    suffix = PurePosixPath(inner).suffix.lower()
    if suffix == ".parquet":
        return read_parquet(content, filename), inner
    if suffix in _TEXT_SUFFIXES:
        return read_text(content, filename, mapping), inner
    raise UnreadableFileError(f"{filename}: expected one of {', '.join(SUFFIXES)}")


def read_bars(cells: Cells, filename: str, mapping: FileMapping | None = None) -> FileBars:
    """Bars of the cells of a file, as delivered.

    Columns are recognised by their names (those of the lake and of the usual vendors), in any case and order; a date
    and a close there must be. Without a symbol column the file's name says the symbol.

    Raises
    ------
    UnreadableFileError : a column is missing, or the file could be understood in more than one way.
    """
    reading = plan(cells, filename, mapping)
    bars, unreadable = interpret(cells, reading)
    return FileBars(bars, cells, unreadable, reading)
