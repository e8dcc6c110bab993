"""Bars from CSV and Parquet files: cells are read as text, so that a bad row is rejected alone and kept as it was."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow.parquet as pq

from lake.sources.base import BAR_COLUMNS, NUMBER_COLUMNS

SUFFIXES = (".csv", ".parquet")
_ALIASES = {"date": "ts", "time": "ts", "timestamp": "ts", "ticker": "symbol", "adjusted_close": "adj_close"}
_REQUIRED = ("ts", "close")


class UnreadableFileError(ValueError):
    """The file as a whole cannot be read; the message names it and says what is wrong."""


@dataclass(frozen=True)
class FileBars:
    """What a file holds, row by row.

    Attributes
    ----------
    bars : columns `BAR_COLUMNS`; a cell that cannot be read is null; `ts` is tz-aware UTC.
    originals : one JSON object a row, its cells as text.
    unreadable : what could not be read in a row, in words; null where all was.
    """

    bars: pd.DataFrame
    originals: pd.Series
    unreadable: pd.Series


def read_bars(file: IO[bytes], filename: str) -> FileBars:
    """Bars of a CSV or Parquet file, as delivered.

    The header names `ts` (or date) and `close`, and may name symbol, open, high, low, adj_close, volume, currency,
    asset_class and interval, in any case and order. Without a symbol column the file's stem is the symbol.

    Raises
    ------
    UnreadableFileError : not a CSV or Parquet file, no rows, or a required column is missing.
    """
    cells = _read_cells(file, filename)
    originals = pd.Series([json.dumps(row, ensure_ascii=False) for row in cells.to_dict(orient="records")])
    cells.columns = [_column_name(str(column)) for column in cells.columns]
    missing = [name for name in _REQUIRED if name not in cells.columns]
    if missing:
        raise UnreadableFileError(f"{filename}: column {missing[0]!r} is missing; found {', '.join(cells.columns)}")
    bars = _parse(cells, Path(filename).stem)
    return FileBars(bars, originals, _unreadable(cells, bars))


def _read_cells(file: IO[bytes], filename: str) -> pd.DataFrame:
    suffix = Path(filename).suffix.lower()
    try:
        if suffix == ".csv":
            cells = pd.read_csv(file, dtype="string", keep_default_na=False, skipinitialspace=True)
        elif suffix == ".parquet":
            cells = pq.read_table(file).to_pandas().astype("string").fillna("")
        else:
            raise UnreadableFileError(f"{filename}: expected one of {', '.join(SUFFIXES)}")
    except UnreadableFileError:
        raise
    except (ValueError, OSError) as error:  # ArrowInvalid, ParserError, UnicodeDecodeError and EmptyDataError are these
        raise UnreadableFileError(f"{filename}: not a readable {suffix[1:]} file ({error})") from error
    if cells.empty:
        raise UnreadableFileError(f"{filename}: no rows")
    return cells


def _column_name(header: str) -> str:
    name = header.strip().lower().replace(" ", "_")
    return _ALIASES.get(name, name)


def _parse(cells: pd.DataFrame, stem: str) -> pd.DataFrame:
    def text(column: str, default: str) -> pd.Series:
        if column not in cells:
            return pd.Series(default, index=cells.index, dtype="string")
        return cells[column].str.strip().replace("", default)

    bars = pd.DataFrame(
        {
            "symbol": text("symbol", stem).str.upper(),
            "asset_class": text("asset_class", "equity").str.lower(),
            "interval": text("interval", "1d").str.lower(),
            "ts": pd.to_datetime(cells["ts"].str.strip(), utc=True, errors="coerce", format="ISO8601"),
            "currency": text("currency", "USD").str.upper(),
        }
    )
    for column in NUMBER_COLUMNS:
        values = cells[column] if column in cells else pd.Series(pd.NA, index=cells.index)
        bars[column] = pd.to_numeric(values, errors="coerce").astype("float64")
    return bars[list(BAR_COLUMNS)]


def _unreadable(cells: pd.DataFrame, bars: pd.DataFrame) -> pd.Series:
    problems = pd.Series(pd.NA, index=cells.index, dtype="string")
    for column in ("ts", *NUMBER_COLUMNS):
        if column in cells:
            broken = cells[column].str.strip().ne("") & bars[column].isna() & problems.isna()
            problems[broken] = f"{column} " + cells[column].map(repr) + " cannot be read"
    return problems
