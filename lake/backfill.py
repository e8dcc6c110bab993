"""Bars of a past range from the live sources, part by part; what came is remembered, so that a run can be resumed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.ingest import create_raw_tables
from lake.settings import Settings
from lake.sources.base import INTERVALS, LiveBars
from lake.sources.failover import Report, declare_instruments, ingest_bars, ordered_sources
from lake.sources.http import Patience
from lake.store import Lake
from lake.tables import RAW_REQUESTS

_SYMBOLS = 10  # a part: what a kill loses
# Providers are paid by the request, and one brings decades of daily bars, a year of hourly ones, a month of minutes.
_PERIODS = {"1d": None, "1h": "Y", "1m": "M"}
_DAY = timedelta(days=1)


class BackfillError(ValueError):
    """What was asked cannot be done; the message says why."""


@dataclass(frozen=True)
class Part:
    """Symbols that lack the same range: the unit that is asked for, ingested and remembered at once."""

    symbols: tuple[str, ...]
    start: date
    end: date

    def __str__(self) -> str:
        others = len(self.symbols) - 3
        return f"{self.start} to {self.end}  {', '.join(self.symbols[:3])}{f' and {others} more' * (others > 0)}"


def backfill(
    lake: Lake,
    settings: Settings,
    start: date,
    end: date | None = None,
    *,
    symbols: Sequence[str] = (),
    interval: str = "1d",
    again: bool = False,
    say: Callable[[str], None] = print,
    patience: Patience | None = None,
) -> Report:
    """Bring in the bars of a range as `ingest_bars` does, newest part first, but what an earlier run has brought.

    A part whose sources failed is not remembered, so the next run asks for it again.

    Parameters
    ----------
    end : last session. Default, and at the latest: yesterday; the daily increment brings what is not over yet.
    symbols : some of the live symbols of the settings; default: all.
    again : ask for what was brought too, for corrections.
    say : receives a line of progress at a time.

    Returns
    -------
    Report, in which a symbol goes with its part: `AAPL 2020-01-01 to 2024-12-31`.

    Raises
    ------
    BackfillError : a symbol is not in the settings, or range or interval make no sense.
    KeyError : the settings name a source that there is not.
    """
    orders = ordered_sources(settings, patience)
    chosen = [symbol.upper() for symbol in symbols] or list(orders)
    end = min(end or date.max, datetime.now(UTC).date() - _DAY)
    if unknown := [symbol for symbol in chosen if symbol not in orders]:
        raise BackfillError(f"{', '.join(unknown)}: no live source; LAKEHOUSE_SOURCES names the sources of a symbol")
    if not chosen:
        raise BackfillError("there are no live sources; LAKEHOUSE_SOURCES names them, for example 'AAPL, MSFT: yahoo'")
    if interval not in INTERVALS:
        raise BackfillError(f"interval {interval!r} is none of {', '.join(INTERVALS)}")
    if start > end:
        raise BackfillError(f"no day lies between {start} and {end}; the newest that is over is yesterday")
    create_raw_tables(lake)
    declare_instruments(lake, settings, orders, keep=True)
    done = {} if again else _done(lake, orders, interval)
    parts = list(_parts({symbol: uncovered(done.get(symbol, ()), start, end) for symbol in chosen}, interval))
    say(f"Backfill of {interval} bars, {start} to {end}; symbols: {len(chosen)}, parts to ask for: {len(parts)}")
    report = Report()
    for number, part in enumerate(parts, 1):
        began = time.monotonic()
        some = {symbol: orders[symbol] for symbol in part.symbols}
        found = ingest_bars(lake, some, interval=interval, start=part.start, end=part.end)
        _remember(lake, found, part, interval)
        report.include(found, f"{part.start} to {part.end}")
        new = sum(batch.accepted for batch in found.batches)
        missing = f", nothing came for {', '.join(found.missing)}" if found.missing else ""
        say(f"[{number}/{len(parts)}] {part}: {new:,} new bars{missing} ({time.monotonic() - began:.1f} s)")
    return report


def _done(lake: Lake, orders: Mapping[str, Sequence[LiveBars]], interval: str) -> dict[str, list[tuple[date, date]]]:
    """The ranges that one of its present sources has delivered, by symbol."""
    done: dict[str, list[tuple[date, date]]] = {}
    for row in lake.read("raw/requests", filters=pc.field("interval") == interval).to_pylist():
        if row["source"] in (source.name for source in orders.get(row["symbol"], ())):
            done.setdefault(row["symbol"], []).append((row["range_start"], row["range_end"]))
    return done


def uncovered(done: Iterable[tuple[date, date]], start: date, end: date) -> list[tuple[date, date]]:
    """What is left of `start` to `end` without the ranges that are done."""
    gaps = []
    for first, last in sorted(done):
        if first > end:
            break
        if first > start:
            gaps.append((start, first - _DAY))
        start = max(start, last + _DAY)
    return [*gaps, (start, end)] if start <= end else gaps


def _parts(gaps: Mapping[str, Sequence[tuple[date, date]]], interval: str) -> Iterator[Part]:
    """Newest first: a part that is older than the series is empty, and only a known series may be that."""
    symbols: dict[tuple[date, date], list[str]] = {}
    for symbol, of_symbol in gaps.items():
        for gap in of_symbol:
            for span in _spans(*gap, _PERIODS[interval]):
                symbols.setdefault(span, []).append(symbol)
    for span in sorted(symbols, reverse=True):
        for i in range(0, len(symbols[span]), _SYMBOLS):
            yield Part(tuple(symbols[span][i : i + _SYMBOLS]), *span)


def _spans(start: date, end: date, period: str | None) -> list[tuple[date, date]]:
    if period is None:
        return [(start, end)]
    periods = pd.period_range(start, end, freq=period)
    return [(max(start, p.start_time.date()), min(end, p.end_time.date())) for p in periods]


def _remember(lake: Lake, found: Report, part: Part, interval: str) -> None:
    asked = {
        "interval": interval,
        "range_start": part.start,
        "range_end": part.end,
        "requested_at": datetime.now(UTC),
    }
    rows = [{"symbol": symbol, **vars(delivery), **asked} for symbol, delivery in found.delivered.items()]
    if rows:
        lake.append("raw/requests", pa.Table.from_pylist(rows, schema=RAW_REQUESTS.schema))
