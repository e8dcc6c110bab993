"""Live bars with failover: each symbol from the first of its sources that delivers bars which fit its series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from lake.ingest import BatchResult, create_raw_tables, ingest, ingest_delivery, write_instruments
from lake.settings import Settings
from lake.sources import live_bars, live_rows
from lake.sources.base import Instrument, LiveBars, LiveRows
from lake.sources.http import Patience, SourceError
from lake.sources.synthetic import SyntheticSource
from lake.splice import SPLICE_RULES
from lake.store import Lake

_OVERLAP = timedelta(days=10)  # calendar days asked for again: corrections, and sessions to compare levels on
_SAME_PRICE = 1e-4


@dataclass
class Report:
    """What a run over live sources came to.

    Attributes
    ----------
    batches : the ledger entries of the run.
    delivered : symbol or series to the source that delivered it.
    failures : by symbol or series, one sentence for each source that was tried in vain.
    """

    batches: list[BatchResult] = field(default_factory=list)
    delivered: dict[str, str] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """What no source delivered."""
        return tuple(name for name in self.failures if name not in self.delivered)

    def failed(self, name: str, why: object) -> None:
        """Note that a source was tried in vain."""
        self.failures.setdefault(name, []).append(str(why))


@dataclass(frozen=True)
class _Span:
    interval: str
    start: date | None
    end: date | None


def ingest_live(lake: Lake, settings: Settings, *, patience: Patience | None = None) -> Report:
    """Bring the daily bars of `settings.sources` up to date, and say in `raw/instruments` where each series comes from.

    Raises
    ------
    KeyError : the settings name a source that there is not.
    """
    by_symbol = _ordered_sources(settings, patience)
    _declare(lake, settings, by_symbol)
    return ingest_bars(lake, by_symbol)


def declare_instruments(lake: Lake, settings: Settings) -> None:
    """Write to `raw/instruments` the embedded series of the universe and the live ones. Raises `KeyError` as above."""
    _declare(lake, settings, _ordered_sources(settings, None))


def ingest_bars(
    lake: Lake,
    orders: Mapping[str, Sequence[LiveBars]],
    *,
    interval: str = "1d",
    start: date | None = None,
    end: date | None = None,
) -> Report:
    """Fetch each symbol from the first of its sources that delivers, and ingest it; a failed source only costs a line.

    A source has failed for a symbol when it raises a `SourceError`, has not even the sessions that are known, or
    delivers bars that do not fit them. Sources are asked in rounds, so that each source makes one batch a round.

    Parameters
    ----------
    orders : sources of each symbol in order of preference.
    start : first session. Default: ten days before the last known one, or all that there is. When the prices of those
        days have changed there has been a split or dividend, and the whole series is fetched again.
    """
    create_raw_tables(lake)
    report = Report()
    waiting = {symbol: list(order) for symbol, order in orders.items()}
    while waiting:
        tried: dict[str, tuple[LiveBars, list[str]]] = {}
        for symbol, order in waiting.items():
            source = order.pop(0)
            tried.setdefault(source.name, (source, []))[1].append(symbol)
        for source, symbols in tried.values():
            preferred = {symbol: orders[symbol][0].name for symbol in symbols}
            _ingest_from(lake, source, preferred, report, _Span(interval, start, end))
        waiting = {symbol: order for symbol, order in waiting.items() if order and symbol not in report.delivered}
    return report


def ingest_rows(
    lake: Lake, source: LiveRows, names: Sequence[str], start: date | None = None, end: date | None = None
) -> Report:
    """Fetch macro series, or the fundamentals or news of symbols, and ingest them into the raw table of the source."""
    report = Report()
    frames = []
    for name in names:
        try:
            frames.append(source.fetch([name], start, end))
            report.delivered[name] = source.name
        except SourceError as error:
            report.failed(name, error)
    rows = pd.concat([frame for frame in frames if len(frame)]) if any(map(len, frames)) else None
    if rows is not None:
        report.batches.append(ingest(lake, rows, source.name, source.origin, table=source.table))
    return report


def ingest_macro(lake: Lake, settings: Settings, *, patience: Patience | None = None) -> Report:
    """Bring the macro series of the settings up to date: BCRP's, and FRED's when there is a key."""
    report = Report()
    for name, provider in (("bcrp", settings.bcrp), ("fred", settings.fred)):
        if name == "fred" and provider.key is None:
            continue
        part = ingest_rows(lake, live_rows(name, settings, patience), provider.codes)
        report.batches += part.batches
        report.delivered |= part.delivered
        report.failures |= part.failures
    return report


def _ordered_sources(settings: Settings, patience: Patience | None) -> dict[str, list[LiveBars]]:
    orders = settings.source_orders
    names = dict.fromkeys(name for order in orders.values() for name in order)
    sources = {name: live_bars(name, settings, patience) for name in names}
    return {symbol: [sources[name] for name in order] for symbol, order in orders.items()}


def _declare(lake: Lake, settings: Settings, by_symbol: Mapping[str, Sequence[LiveBars]]) -> None:
    more = {instrument.symbol: instrument for instrument in SyntheticSource(settings.synthetic).instruments}
    more |= {symbol: _instrument(symbol, order) for symbol, order in by_symbol.items()}
    write_instruments(lake, settings.universe_symbols, more)


def _ingest_from(lake: Lake, source: LiveBars, preferred: Mapping[str, str], report: Report, span: _Span) -> None:
    """One batch of the symbols that `preferred` names, each with its preferred source."""
    known = _known(lake, list(preferred), span.interval)
    frames = {}
    for symbol, first_choice in preferred.items():
        of_symbol = known[known["symbol"] == symbol]
        own = of_symbol[of_symbol["source"] == source.name]
        since = span.start or _since(of_symbol[of_symbol["source"].isin([source.name, first_choice])])
        try:
            bars = source.fetch([symbol], since, span.end, span.interval)
            if span.start is None and _repriced(bars, own):
                bars = source.fetch([symbol], None, span.end, span.interval)
        except (SourceError, ValueError) as error:  # ValueError: the source has no such interval
            report.failed(symbol, error)
            continue
        if bars.empty and (span.start is None or of_symbol.empty):  # an increment holds known sessions
            report.failed(symbol, f"{source.name}: {symbol}: delivered no bars")
            continue
        frames[symbol] = bars
    rows = [bars for bars in frames.values() if len(bars)]
    refused = {}
    if rows:
        batches = ingest_delivery(lake, pd.concat(rows), source.name, source.origin)
        report.batches += batches
        refused = _refused(lake, batches[0])
    for symbol in frames:
        if symbol in refused:
            report.failed(symbol, f"{source.name}: {symbol}: {refused[symbol]}")
        else:
            report.delivered[symbol] = source.name


def _known(lake: Lake, symbols: Sequence[str], interval: str) -> pd.DataFrame:
    condition = pc.field("symbol").isin(list(symbols)) & (pc.field("interval") == interval)
    columns = ["symbol", "ts", "close", "adj_close", "source", "ingested_at"]
    rows = lake.read("raw/bars", columns, condition).to_pandas().sort_values("ingested_at", kind="stable")
    return rows.drop_duplicates(["symbol", "ts", "source"], keep="last")


def _since(known: pd.DataFrame) -> date | None:
    """Start of an increment; None, for all that there is, when nothing is known."""
    if known.empty:
        return None
    last: pd.Timestamp = known["ts"].max()
    return last.date() - _OVERLAP


def _repriced(bars: pd.DataFrame, own: pd.DataFrame) -> bool:
    """Whether the oldest bar that is asked for again has another price, as after a split or dividend."""
    both = bars.merge(own, on="ts", suffixes=("", "_known")).sort_values("ts")
    return bool(
        len(both)
        and any(
            abs(np.log(both[column].iloc[0] / both[f"{column}_known"].iloc[0])) > _SAME_PRICE
            for column in ("close", "adj_close")
        )
    )


def _refused(lake: Lake, batch: BatchResult) -> dict[str, str]:
    """Symbols whose bars of a batch did not fit the series, with the reason."""
    condition = (pc.field("batch_id") == batch.batch_id) & pc.field("rule").isin(list(SPLICE_RULES))
    rows = lake.read("raw/rejects", ["symbol", "reason"], condition).to_pylist()
    return {row["symbol"]: row["reason"] for row in rows}


def _instrument(symbol: str, order: Sequence[LiveBars]) -> Instrument:
    first, *others = order
    fallbacks = ",".join(source.name for source in others)
    return Instrument(symbol, symbol, first.asset_class, "USD", first.calendar, first.name, fallbacks)
