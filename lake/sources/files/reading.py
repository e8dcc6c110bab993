"""How a file is to be read, decided once for the whole file from what it shows, and its cells read that way."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.sources.base import BAR_COLUMNS, NUMBER_COLUMNS
from lake.sources.files.cells import Cells, UnreadableFileError, clip
from lake.sources.files.formats import Format, columns_of, interval_of, named, recognise, upper
from lake.sources.files.mapping import SUFFIX, FileMapping
from lake.sources.files.values import Stamps, date_order, decimal_sign, parse_numbers, parse_stamps

_SYMBOL = r"^[A-Z0-9^][A-Z0-9.^=_-]{0,31}$"
_FORMS = {"currency": r"^[A-Z0-9][A-Z0-9 .%/_-]{0,15}$", "asset_class": r"^[a-z][a-z_]{0,31}$"}
_SAMPLE = 10_000  # rows that tell the interval
_DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Reading:
    """All that one must know to read the cells of a file, or a few of its rows later, in the same way.

    Attributes
    ----------
    format : name of the recognised format.
    columns : our field to the name of the file's column.
    symbol, asset_class, interval, currency : of rows whose file has no such column.
    dates : DMY or MDY for dates like 03/04/2024; a strptime format for all dates; "" where there are none of these.
    decimal : the decimal sign.
    timezone : of intraday stamps without one; "" where they are refused, since others of the file have one.
    encoding, separator : of the text; "" for Parquet.
    """

    format: str
    columns: dict[str, str]
    symbol: str = ""
    asset_class: str = "equity"
    interval: str = "1d"
    currency: str = "USD"
    dates: str = ""
    decimal: str = "."
    timezone: str = "UTC"
    encoding: str = ""
    separator: str = ""


def plan(cells: Cells, filename: str, mapping: FileMapping | None) -> Reading:
    """Decide how to read a file; what the mapping says comes before what the file shows.

    Raises
    ------
    UnreadableFileError : a column is missing, or what the file shows can be understood in more than one way.
    """
    mapping, hint = mapping or FileMapping(), _Hint(filename)
    header = cells.table.column_names
    columns = _columns(header, mapping, filename)
    stem = PurePosixPath(filename).stem
    known = recognise(header, stem)
    name = named(stem, known)
    symbol = upper(mapping.symbol) or name.symbol
    if "symbol" not in columns and not pc.match_substring_regex(pa.array([symbol]), _SYMBOL)[0].as_py():
        raise hint.error("it has no symbol column and its name is no symbol; rename it to SYMBOL.csv", "symbol: AAPL")
    dates = mapping.dates or known.dates or _dates(cells, columns, hint)
    stamps = parse_stamps(_stamp_text(cells, columns), dates)
    interval = interval_of(mapping.interval) or name.interval or _interval(cells, columns, stamps)
    return Reading(
        format=known.name,
        columns=columns,
        symbol=symbol,
        asset_class=mapping.asset_class or name.asset_class or "equity",
        interval=interval,
        currency=mapping.currency or name.currency or "USD",
        dates=dates,
        decimal=mapping.decimal or known.decimal or _decimal(cells, columns, hint),
        timezone=mapping.timezone or _timezone(stamps, interval, known, hint),
        encoding=cells.encoding,
        separator=cells.separator,
    )


def interpret(cells: Cells, reading: Reading) -> tuple[pd.DataFrame, pd.Series]:
    """Read cells.

    Returns
    -------
    bars : columns `BAR_COLUMNS`, a row a row of the cells; a cell that cannot be read is null; `ts` is tz-aware UTC.
    unreadable : the first thing that could not be read in each row, in words; null where all was.

    Raises
    ------
    KeyError : a column of the reading is not there.
    """
    problems = _Problems(cells)
    bars = pd.DataFrame(
        {
            "symbol": _texts(cells, reading, "symbol", upper),
            "asset_class": _texts(cells, reading, "asset_class", str.lower),
            "interval": _texts(cells, reading, "interval", interval_of),
            "currency": _texts(cells, reading, "currency", str.upper),
        }
    )
    text = _stamp_text(cells, reading.columns)
    stamps = parse_stamps(text, reading.dates)
    bars["ts"] = _instants(stamps, bars["interval"].eq("1d"), reading.timezone)
    written = pd.Series(pc.not_equal(text, "").to_numpy(zero_copy_only=False))
    problems.add(written & stamps.local.isna(), "ts", text, "cannot be read")
    unzoned = f"does not exist or exists twice in {reading.timezone}" if reading.timezone else "names no time zone"
    problems.add(written & bars["ts"].isna(), "ts", text, unzoned)
    for column in NUMBER_COLUMNS:
        bars[column] = np.nan
        if column in reading.columns:
            numbers = cells.table[reading.columns[column]].combine_chunks()
            bars[column], broken = parse_numbers(numbers, reading.decimal, suffixes=column == "volume")
            problems.add(pd.Series(broken), column, numbers, "cannot be read")
    for column, form in _FORMS.items():
        usual = [text for text in bars[column].dropna().unique() if re.fullmatch(form, text)]
        strange = bars[column].notna() & ~bars[column].isin(usual)
        problems.add(strange, column, bars[column], f"is not in the form of a {column.replace('_', ' ')}")
    return bars[list(BAR_COLUMNS)], problems.found


class _Hint:
    """The error of one file, with how to say in a mapping file what it does not show."""

    def __init__(self, filename: str) -> None:
        self._filename = filename

    def error(self, problem: str, line: str) -> UnreadableFileError:
        mapping = PurePosixPath(self._filename).stem + SUFFIX
        return UnreadableFileError(f"{self._filename}: {problem}, or say `{line}` in {mapping} beside it")


class _Problems:
    """The first problem of every row."""

    def __init__(self, cells: Cells) -> None:
        self.found = pd.Series(pd.NA, index=range(cells.table.num_rows), dtype="string")
        self.found.iloc[list(cells.broken)] = [problem for _, problem in cells.broken.values()]

    def add(self, bad: pd.Series, column: str, texts: pa.Array | pd.Series, problem: str) -> None:
        rows = np.flatnonzero(bad.to_numpy() & self.found.isna().to_numpy())
        taken = texts.take(rows) if isinstance(texts, pd.Series) else texts.take(pa.array(rows)).to_pylist()
        self.found.iloc[rows] = [f"{column} {clip(text, 100)!r} {problem}" for text in taken]


def _columns(header: Sequence[str], mapping: FileMapping, filename: str) -> dict[str, str]:
    columns = columns_of(header)
    for ours, theirs in mapping.columns.items():
        columns.pop(ours, None)
        if theirs is not None:
            columns[ours] = theirs
    for name in [columns.get("ts", "ts"), columns.get("close", "close"), *columns.values()]:
        if name not in columns.values() or name not in header:
            found = clip(", ".join(header), 300)
            raise UnreadableFileError(f"{filename}: column {name!r} is missing; found {found}")
    return columns


def _texts(cells: Cells, reading: Reading, column: str, spell: Callable[[str], str]) -> pd.Series:
    """Text of a column in our spelling, null where empty; without such a column the reading's own."""
    rows = cells.table.num_rows
    if column not in reading.columns:
        return pd.Series(spell(getattr(reading, column)), index=range(rows), dtype="string")
    encoded = cells.table[reading.columns[column]].combine_chunks().dictionary_encode()
    spelled = pa.array([spell(text) or None for text in encoded.dictionary.to_pylist()], pa.string())
    return pd.Series(spelled.take(encoded.indices).to_pandas(), index=range(rows), dtype="string")


def _stamp_text(cells: Cells, columns: dict[str, str]) -> pa.Array:
    text = cells.table[columns["ts"]].combine_chunks()
    if "time" in columns:
        clock = cells.table[columns["time"]].combine_chunks()
        text = pc.utf8_trim_whitespace(pc.binary_join_element_wise(text, clock, " "))
    return text


def _dates(cells: Cells, columns: dict[str, str], hint: _Hint) -> str:
    order, doubt = date_order(_stamp_text(cells, columns))
    if doubt:
        raise hint.error(f"the order of day and month is not clear: {doubt}; write dates as 2024-12-31", "dates: DMY")
    return order


def _decimal(cells: Cells, columns: dict[str, str], hint: _Hint) -> str:
    numbers = [cells.table[columns[column]].combine_chunks() for column in NUMBER_COLUMNS if column in columns]
    sign = decimal_sign(numbers, cells.separator)
    if sign is None:
        raise hint.error("whether 1,234 is above a thousand or below two is not clear", 'decimal: ","')
    return sign


def _interval(cells: Cells, columns: dict[str, str], stamps: Stamps) -> str:
    """Most common distance of neighbouring stamps; 1d where there are too few to tell."""
    if "close_time" in cells.table.column_names:  # of a Binance dump: one unit before the next bar opens
        closes = parse_stamps(cells.table["close_time"].combine_chunks(), "").local
        spans = (closes - stamps.local).dropna().dt.round("s")
        return _interval_name(pd.Timedelta(spans.mode().iloc[0])) if len(spans) else "1d"
    clock = stamps.local.iloc[:_SAMPLE].dropna()
    if (clock != clock.dt.normalize()).any():  # else days, of whatever zones
        clock -= stamps.offset.reindex(clock.index).fillna(pd.Timedelta(0))
    spans = clock.drop_duplicates().sort_values().diff().dropna()
    if spans.empty:
        return "1d"
    common = pd.Timedelta(spans.mode().iloc[0])
    return _interval_name(common) if common < _DAY or len(spans) > 3 else "1d"


def _interval_name(span: pd.Timedelta) -> str:
    if span < _DAY:
        minutes = int(span.total_seconds() // 60)
        return f"{minutes // 60}h" if minutes and minutes % 60 == 0 else f"{minutes}m"
    return "1mo" if span.days >= 28 else "1w" if span.days == 7 else "1d"


def _timezone(stamps: Stamps, interval: str, known: Format, hint: _Hint) -> str:
    if interval in ("1d", "1w", "1mo"):
        return "UTC"
    readable, zoned = stamps.local.notna(), stamps.offset.notna()
    if zoned.any():
        return ""
    if readable.any() and not known.timezone:
        raise hint.error(f"{known.name} files do not tell the time zone of their bars", "timezone: Europe/Athens")
    return known.timezone or "UTC"


def _instants(stamps: Stamps, daily: pd.Series, timezone: str) -> pd.Series:
    """UTC instants; of a daily bar at midnight somewhere, 00:00 UTC of the date there."""
    zoned = stamps.offset.notna()
    utc = (stamps.local - stamps.offset.fillna(pd.Timedelta(0))).dt.tz_localize("UTC")
    as_written = stamps.local.dt.tz_localize("UTC")
    if timezone not in ("", "UTC"):
        there = utc.dt.tz_convert(timezone).dt.tz_localize(None)
        midnight_there = zoned & there.eq(there.dt.normalize())
        of_day = utc.where(~midnight_there, there.dt.tz_localize("UTC"))
        local = stamps.local.dt.tz_localize(timezone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    else:
        of_day = utc
        local = as_written if timezone else as_written.where(zoned)
    midnight = stamps.local.eq(stamps.local.dt.normalize())
    instants = as_written.where(midnight | ~zoned, of_day).where(daily, utc.where(zoned, local))
    return instants.astype("datetime64[ns, UTC]")
