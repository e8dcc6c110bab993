"""Numbers and time stamps of cells, whole columns at a time: what a cell means when the form of the file is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_MISSING = pa.array(["", "-", "--", ".", "na", "n/a", "#n/a", "nan", "none", "null"])
_SPACES = r"[ '\x{2019}\x{00a0}\x{2009}\x{202f}]"
_SUFFIXES = {"k": "e3", "m": "e6", "b": "e9", "t": "e12"}

_DRESSED = r"^[+-]?[$€£]?(?:%s)[KMBTkmbt]?$"

_CLOCK = (
    r"(?:[T ]+(?P<hour>[0-9]{1,2}):?(?P<minute>[0-9]{2})(?::?(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r" ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)?$"  # the usual, read fastest
)
_YEAR_FIRST = r"^(?P<year>[0-9]{4})(?P<mark>[-/.])(?P<month>[0-9]{1,2})(?P<mark2>[-/.])(?P<day>[0-9]{1,2})"
_EIGHT_DIGITS = r"^(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
_YEAR_LAST = r"^(?P<first>[0-9]{1,2})(?P<mark>[-/.])(?P<second_part>[0-9]{1,2})(?P<mark2>[-/.])(?P<year>[0-9]{4})"
_DAY_NAME_YEAR = r"^(?P<day>[0-9]{1,2})[- ](?P<name>[A-Za-z]{3,9})\.?[- ](?P<year>[0-9]{4})"
_NAME_DAY_YEAR = r"^(?P<name>[A-Za-z]{3,9})\.? (?P<day>[0-9]{1,2}),? (?P<year>[0-9]{4})"
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_EPOCH = r"^(?P<digits>[0-9]{9,18}|[0-8][0-9]{18})(?:\.0*)?$"
# The most digits of an epoch in each unit, up to the year 2286.
_EPOCH_UNITS: tuple[tuple[int, Literal["s", "ms", "us", "ns"]], ...] = ((10, "s"), (13, "ms"), (16, "us"), (19, "ns"))


@dataclass(frozen=True)
class Stamps:
    """Time stamps as written, one a row.

    Attributes
    ----------
    local : the clock's reading; NaT where it cannot be read.
    offset : what the clock was ahead of UTC; NaT where the text does not say.
    """

    local: pd.Series
    offset: pd.Series


def decimal_sign(columns: list[pa.Array], separator: str) -> str | None:
    """The decimal sign that the numbers of a file have in common; None where 1,234 could be either number.

    Parameters
    ----------
    columns : cells of the number columns.
    separator : of the file; where it is a semicolon the comma is likely the decimal sign, so 1.234 is doubtful too.
    """
    comma, point = _count(columns, _telling(",", r"\.")), _count(columns, _telling(r"\.", ","))
    if comma or point:
        return "," if comma > point else "."
    doubtful = "[,.]" if separator == ";" else ","
    return None if _count(columns, rf"[1-9][0-9]{{0,2}}{doubtful}[0-9]{{3}}") else "."


def _telling(sign: str, group: str) -> str:
    """Numbers that can be read in one way only: `sign` is their decimal sign."""
    return "|".join(
        (
            rf"[0-9]*{sign}(?:[0-9]{{1,2}}|[0-9]{{4,}})",
            rf"0+{sign}[0-9]+",
            rf"[0-9]{{4,}}{sign}[0-9]+",
            rf"[0-9]{{1,3}}(?:(?:{group}|{_SPACES})[0-9]{{3}})+{sign}[0-9]+",
            rf"[0-9]{{1,3}}(?:{group}[0-9]{{3}}){{2,}}",
        )
    )


def _count(columns: list[pa.Array], pattern: str) -> int:
    return sum(pc.sum(pc.match_substring_regex(cells, _DRESSED % pattern)).as_py() or 0 for cells in columns)


def parse_numbers(cells: pa.Array, decimal: str, *, suffixes: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of trimmed cells; thousands may be grouped, and a currency sign may come first.

    Parameters
    ----------
    decimal : the decimal sign; the other of . and , may group thousands.
    suffixes : read 1.5K, 1.5M, 1.5B, 1.5T as thousands, millions, 10^9, 10^12.

    Returns
    -------
    values : float64, NaN where there is none.
    broken : bool, where a cell holds something that is not a number.
    """
    missing = pc.is_in(pc.utf8_lower(cells), value_set=_MISSING)
    text = pc.replace_substring_regex(cells, r"^([+-]?)[$€£] ?", r"\1")
    spaced = pc.match_substring_regex(text, rf"^[+-]?[0-9]{{1,3}}(?:{_SPACES}[0-9]{{3}})+(?:[.,][0-9]*)?[A-Za-z]?$")
    text = pc.if_else(spaced, pc.replace_substring_regex(text, _SPACES, ""), text)
    if suffixes:
        for letter, exponent in _SUFFIXES.items():
            text = pc.replace_substring_regex(text, rf"(?i)^([+-]?[0-9.,]+) ?{letter}$", rf"\1{exponent}")
    point, group = ("[.]", ",") if decimal == "." else (",", "[.]")
    exponent = r"(?:[eE][+-]?[0-9]{1,4})?$"
    plain = pc.match_substring_regex(text, rf"^[+-]?(?:[0-9]+{point}?[0-9]*|{point}[0-9]+){exponent}")
    grouped = pc.match_substring_regex(text, rf"^[+-]?[0-9]{{1,3}}(?:{group}[0-9]{{3}})+(?:{point}[0-9]*)?{exponent}")
    infinite = pc.match_substring_regex(text, r"(?i)^[+-]?inf(inity)?$")
    text = pc.if_else(grouped, pc.replace_substring_regex(text, group, ""), text)
    if decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    known = pc.or_(pc.or_(plain, grouped), infinite)
    values = pc.cast(pc.if_else(known, text, None), pa.float64())
    broken = pc.invert(pc.or_(known, missing))
    return values.to_numpy(zero_copy_only=False), broken.to_numpy(zero_copy_only=False)


def date_order(cells: pa.Array) -> tuple[str, str]:
    """DMY or MDY where dates like 31/12/2024 or 12/31/2024 tell it; "" where there are none to tell.

    Dates with points are day first everywhere, so they say nothing about the others.

    Returns
    -------
    order, and in words what is doubtful ("" where nothing is).
    """
    found = _groups(pc.unique(cells), _YEAR_LAST + _CLOCK)
    found = found[found["mark"].ne(".")]
    first, second = found["first"].astype(int), found["second_part"].astype(int)
    day_first, month_first = (first > 12) & (second <= 12), (second > 12) & (first <= 12)
    if day_first.any() and month_first.any():
        example = found["text"][day_first].iloc[0], found["text"][month_first].iloc[0]
        return "", f"{example[0]!r} is day first and {example[1]!r} is month first"
    if day_first.any() or month_first.any():
        return ("DMY" if day_first.any() else "MDY"), ""
    if (first != second).any():
        return (
            "",
            f"{found['text'][first != second].iloc[0]!r} may be day first or month first, and no other date tells",
        )
    return ("DMY" if len(found) else ""), ""


def parse_stamps(cells: pa.Array, order: str) -> Stamps:
    """Time stamps of trimmed cells: ISO and its relatives, month names, epochs in s, ms, us or ns.

    Parameters
    ----------
    order : DMY or MDY for dates like 03/04/2024, which are not read without it (03.04.2024 is day first always); or a
        strptime format for all cells.
    """
    encoded = cells.dictionary_encode()
    texts = encoded.dictionary
    local = np.full(len(texts), np.datetime64("NaT"), "datetime64[ns]")
    offset = np.full(len(texts), np.timedelta64("NaT"), "timedelta64[ns]")
    for found in [_formatted(texts, order)] if "%" in order else _free(texts, order):
        local[found.index], offset[found.index] = found["local"], found["offset"]
    rows = encoded.indices.to_numpy()
    return Stamps(pd.Series(local[rows]), pd.Series(offset[rows]))


def _free(texts: pa.Array, order: str) -> Iterator[pd.DataFrame]:
    """Local and offset of the texts in every shape that is known, indexed by position."""
    iso = pc.match_substring_regex(texts, _ISO)
    plain = np.flatnonzero(iso.to_numpy(zero_copy_only=False))
    local = pd.to_datetime(texts.take(pa.array(plain)).to_pandas(), format="ISO8601", errors="coerce")
    yield pd.DataFrame({"local": local.to_numpy(), "offset": np.timedelta64("NaT", "ns")}, index=plain)
    rest = np.flatnonzero(pc.and_not(pc.not_equal(texts, ""), iso).to_numpy(zero_copy_only=False))
    if len(rest):
        texts = texts.take(pa.array(rest))
        for shape in (_YEAR_FIRST, _EIGHT_DIGITS, _YEAR_LAST, _DAY_NAME_YEAR, _NAME_DAY_YEAR):
            if len(groups := _groups(texts, shape + _CLOCK)):
                found = _assembled(groups, order)
                yield found.set_axis(rest[found.index], axis=0)
        found = _epochs(_groups(texts, _EPOCH))
        yield found.set_axis(rest[found.index], axis=0)


def _groups(texts: pa.Array, pattern: str) -> pd.DataFrame:
    """Named groups of the texts that match, as text; indexed by position."""
    matched = pc.extract_regex(texts, pattern)
    rows = np.flatnonzero(matched.is_valid().to_numpy(zero_copy_only=False))
    taken = matched.take(pa.array(rows))
    columns = {matched.type.field(i).name: taken.field(i).to_pandas() for i in range(matched.type.num_fields)}
    return pd.DataFrame({**columns, "text": texts.take(pa.array(rows)).to_pandas()}, dtype=object).set_axis(
        rows, axis=0
    )


def _assembled(found: pd.DataFrame, order: str) -> pd.DataFrame:
    if "name" in found:
        found = found.assign(month=found["name"].str[:3].str.lower().map(_month))
    elif "first" in found:
        day_first = found["mark"].eq(".") | (order == "DMY")
        found = found[day_first | (order == "MDY")]
        day_first = day_first[found.index]
        found = found.assign(
            day=found["first"].where(day_first, found["second_part"]),
            month=found["second_part"].where(day_first, found["first"]),
        )
    if "mark" in found:
        found = found[found["mark"] == found["mark2"]]
    date = pd.to_datetime(found[["year", "month", "day"]].astype(int), errors="coerce").astype("datetime64[ns]")
    clock = {part: found[part].replace("", "0").astype(int) for part in ("hour", "minute", "second")}
    nanoseconds = found["fraction"].str.ljust(9, "0").replace("0" * 9, "0").astype("int64")
    valid = (clock["hour"] < 24) & (clock["minute"] < 60) & (clock["second"] < 60)
    seconds = clock["hour"] * 3600 + clock["minute"] * 60 + clock["second"]
    local = (date + pd.to_timedelta(seconds, unit="s") + pd.to_timedelta(nanoseconds, unit="ns")).where(valid)
    return pd.DataFrame({"local": local, "offset": _offsets(found["zone"])})


def _month(name: str) -> int:
    return _MONTHS.index(name) + 1 if name in _MONTHS else 0


def _offsets(zones: pd.Series) -> pd.Series:
    digits = zones.str.replace(r"[^0-9]", "", regex=True).str.ljust(4, "0").astype(int)
    minutes = (digits // 100 * 60 + digits % 100) * zones.str.startswith("-").map({True: -1, False: 1}).astype(int)
    return pd.to_timedelta(minutes, unit="min").where(zones != "").astype("timedelta64[ns]")


def _epochs(found: pd.DataFrame) -> pd.DataFrame:
    local = pd.Series(pd.NaT, index=found.index, dtype="datetime64[ns]")
    least = 9
    for most, unit in _EPOCH_UNITS:
        chosen = found["digits"].str.len().between(least, most)
        local[chosen] = pd.to_datetime(pd.Index(found["digits"][chosen].astype("int64")), unit=unit, errors="coerce")
        least = most + 1
    return pd.DataFrame({"local": local, "offset": pd.Timedelta(0)}).astype({"offset": "timedelta64[ns]"})


def _formatted(texts: pa.Array, order: str) -> pd.DataFrame:
    zoned = "%z" in order
    stamps = pd.Series(pd.to_datetime(texts.to_pandas(), format=order, errors="coerce", utc=True)).dt.tz_localize(None)
    offset = pd.Series(pd.Timedelta(0) if zoned else pd.NaT, index=stamps.index, dtype="timedelta64[ns]")
    return pd.DataFrame({"local": stamps.astype("datetime64[ns]"), "offset": offset})
