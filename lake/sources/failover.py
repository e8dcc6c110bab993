"""Live bars with failover: each symbol from the first of its sources that delivers bars which fit its series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake import duck
from lake.calendars import session_closes
from lake.ingest import BatchResult, create_raw_tables, ingest, ingest_delivery, write_instruments
from lake.settings import Settings
from lake.sources import live_bars, live_rows
from lake.sources.base import Instrument, LiveBars, RowSource
from lake.sources.http import Patience, SourceError
from lake.sources.synthetic import SyntheticSource
from lake.splice import SPLICE_RULES
from lake.store import Lake

# Asked for again beside what is wanted: corrections, and sessions to compare levels on. The longest weekend has four
# days, and some providers give a few days only of short intervals.
_OVERLAP = {"1d": timedelta(days=10), "1h": timedelta(days=4), "1m": timedelta(days=4)}
_SAME_PRICE = 1e-4
_SAME_BASE = 2e-3  # of an adjusted close, which providers round to cents
_MISFITS = (*SPLICE_RULES, "currency_change")  # what the next source may do better


@dataclass(frozen=True)
class Delivery:
    """What a source delivered of a symbol or series: how many rows, in which batch (None: there was nothing)."""

    source: str
    rows: int = 0
    batch_id: str | None = None


@dataclass
class Report:
    """What a run over live sources came to.

    Attributes
    ----------
    table : the raw table that was asked for.
    batches : the ledger entries of the run.
    delivered : symbol or series to what its source delivered.
    failures : by symbol or series, one sentence for each source that was tried in vain.
    """

    table: str = "raw/bars"
    batches: list[BatchResult] = field(default_factory=list)
    delivered: dict[str, Delivery] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """What no source delivered."""
        return tuple(name for name in self.failures if name not in self.delivered)

    def failed(self, name: str, why: object) -> None:
        """Note that a source was tried in vain."""
        self.failures.setdefault(name, []).append(str(why))

    def include(self, other: "Report", part: str) -> None:
        """Add the report on a part of what this one is about; its names get that part after them."""
        self.batches += other.batches
        self.delivered |= {f"{name} {part}": delivery for name, delivery in other.delivered.items()}
        self.failures |= {f"{name} {part}": said for name, said in other.failures.items()}


@dataclass(frozen=True)
class _Span:
    interval: str
    start: date | None
    end: date | None


@dataclass(frozen=True)
class _Known:
    """What the lake has of a series: its first day; of the source and the preferred one the newest, of the source first
    and last; and their newest versions of the bars of a span and beside it.
    """

    first: date
    newest: date | None
    own_first: date
    own_last: date
    bars: pd.DataFrame


_SERIES = """
select
    symbol,
    min(ts)::date,
    (max(ts) filter (source in ($source, preferred)))::date,
    (min(ts) filter (source = $source))::date,
    (max(ts) filter (source = $source))::date
from raw.bars join wanted using (symbol)
where interval = $interval
group by symbol
"""

_BESIDE = """
with bars as (
    select symbol, source, ts, close, adj_close, ingested_at, batch_id
    from raw.bars join wanted using (symbol)
    where interval = $interval and source in ($source, preferred)
),

newest as (select symbol, max(ts) as newest from bars group by symbol)

select symbol, source, ts, close, adj_close
from bars join newest using (symbol)
where ts >= coalesce($since, newest - $overlap::interval) and ts < coalesce($until, 'infinity'::timestamptz)
qualify row_number() over (partition by symbol, source, ts order by ingested_at desc, batch_id desc) = 1
"""


def ingest_live(lake: Lake, settings: Settings, *, patience: Patience | None = None) -> Report:
    """Bring the daily bars of `settings.sources` up to date, and say in `raw/instruments` where each series comes from.

    Raises
    ------
    KeyError : the settings name a source that there is not.
    """
    orders = ordered_sources(settings, patience)
    declare_instruments(lake, settings, orders)
    return ingest_bars(lake, orders)


def ordered_sources(settings: Settings, patience: Patience | None = None) -> dict[str, list[LiveBars]]:
    """The sources of each live symbol of the settings, in order of preference. Raises `KeyError` as above."""
    orders = settings.source_orders
    names = dict.fromkeys(name for order in orders.values() for name in order)
    sources = {name: live_bars(name, settings, patience) for name in names}
    return {symbol: [sources[name] for name in order] for symbol, order in orders.items()}


def declare_instruments(
    lake: Lake, settings: Settings, orders: Mapping[str, Sequence[LiveBars]], *, keep: bool = False
) -> None:
    """Write to `raw/instruments` the embedded series of the universe, the synthetic and the live ones.

    Parameters
    ----------
    keep : leave what is there and not live or synthetic by these settings: a command may lack the server's.
    """
    more = {instrument.symbol: instrument for instrument in SyntheticSource(settings.synthetic).instruments}
    more |= {symbol: _instrument(symbol, order) for symbol, order in orders.items()}
    write_instruments(lake, settings.universe_symbols, more, keep=keep)


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
    start : first session. Default: some days before the last known one, or all that there is.
    end : last session. Default: the newest.

    Where a source knows sessions beside those from `start` to `end`, some days of them are asked for again. Has the
    oldest of them another price, there was a split or dividend, and all that is known of the series is fetched again.
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


def ingest_rows(lake: Lake, source: RowSource, names: Sequence[str]) -> Report:
    """Fetch macro series, or the fundamentals or news of symbols, and ingest them into the raw table of the source."""
    report = Report(source.table)
    frames = {}
    for name in names:
        try:
            frames[name] = source.fetch([name], None, None)
        except SourceError as error:
            report.failed(name, error)
    rows = [frame for frame in frames.values() if len(frame)]
    batch = ingest(lake, pd.concat(rows), source.name, source.origin, table=source.table) if rows else None
    report.batches += [batch] if batch else []
    for name, frame in frames.items():
        report.delivered[name] = _delivery(source.name, frame, batch)
    return report


def ingest_live_rows(lake: Lake, settings: Settings, *, patience: Patience | None = None) -> list[Report]:
    """Bring macro series, fundamentals and news of the settings up to date, with a report for each source.

    Every source tells all that it has; what is known already adds nothing. FRED is asked once it has a key.
    """
    wanted = {
        "bcrp": settings.bcrp.codes,
        "fred": settings.fred.codes if settings.fred.key else (),
        "edgar": settings.edgar.tickers,
        "news": settings.news.tickers,
    }
    return [ingest_rows(lake, live_rows(name, settings, patience), names) for name, names in wanted.items() if names]


def _ingest_from(lake: Lake, source: LiveBars, preferred: Mapping[str, str], report: Report, span: _Span) -> None:
    """One batch of the symbols that `preferred` names, each with its preferred source."""
    known = _known(lake, source.name, preferred, span)
    frames = {}
    for symbol, first_choice in preferred.items():
        try:
            bars = _fetch(source, symbol, first_choice, known.get(symbol), span)
        except (SourceError, ValueError) as error:  # ValueError: the source has no such interval
            report.failed(symbol, error)
            continue
        if bars.empty and _has_sessions(source.calendar_of(symbol), span, known.get(symbol)):
            report.failed(symbol, f"{source.name}: {symbol}: delivered no bars")
            continue
        frames[symbol] = bars
    rows = [bars for bars in frames.values() if len(bars)]
    batches = ingest_delivery(lake, pd.concat(rows), source.name, source.origin) if rows else []
    report.batches += batches
    batch = batches[0] if batches else None
    refused = _refused(lake, batch) if batch else {}
    for symbol, bars in frames.items():
        if symbol in refused:
            report.failed(symbol, f"{source.name}: {symbol}: {refused[symbol]}")
        else:
            report.delivered[symbol] = _delivery(source.name, bars, batch)


def _delivery(source: str, rows: pd.DataFrame, batch: BatchResult | None) -> Delivery:
    return Delivery(source, len(rows), batch.batch_id if batch and len(rows) else None)


def _fetch(source: LiveBars, symbol: str, first_choice: str, known: _Known | None, span: _Span) -> pd.DataFrame:
    """Bars of a span and of the known sessions beside it; all that is known again where prices have changed."""

    def fetch(start: date | None, end: date | None) -> pd.DataFrame:
        bars = source.fetch([symbol], start, end, span.interval)
        return _rebased(bars, known.bars) if known and source.name != first_choice else bars

    start, end = _with_overlap(span, known)
    bars = fetch(start, end)
    if known is None or not _repriced(bars, known.bars[known.bars["source"] == source.name]):
        return bars
    return fetch(min(start or known.own_first, known.own_first), max(end, known.own_last) if end else None)


def _with_overlap(span: _Span, known: _Known | None) -> tuple[date | None, date | None]:
    """What to ask for; the start of an increment is None, for all that there is, when nothing is known."""
    overlap = _OVERLAP[span.interval]
    if span.start is None:
        return (known.newest - overlap if known and known.newest else None), span.end
    ts = known.bars["ts"] if known else pd.Series(dtype="datetime64[ns, UTC]")
    first = pd.Timestamp(span.start, tz="UTC")
    start = span.start - overlap if ts.between(first - overlap, first, inclusive="left").any() else span.start
    if span.end is None:
        return start, None
    after = pd.Timestamp(span.end, tz="UTC") + timedelta(days=1)
    return start, span.end + overlap if ts.between(after, after + overlap, inclusive="left").any() else span.end


def _has_sessions(calendar: str, span: _Span, known: _Known | None) -> bool:
    """Whether a source must have bars of a span: there are sessions in it, and not only before the first known bar."""
    if span.start is None or known is None:
        return True
    first, last = max(span.start, known.first), span.end or date.today()
    return first <= last and len(session_closes(calendar, first, last)) > 0


def _known(lake: Lake, source: str, preferred: Mapping[str, str], span: _Span) -> dict[str, _Known]:
    """What the lake has of some symbols, each with its preferred source."""
    overlap = _OVERLAP[span.interval]
    wanted = pa.table({"symbol": list(preferred), "preferred": list(preferred.values())})
    since = pd.Timestamp(span.start, tz="UTC") - overlap if span.start else None
    until = pd.Timestamp(span.end, tz="UTC") + overlap + timedelta(days=1) if span.end else None
    values = {"source": source, "interval": span.interval, "since": since, "until": until, "overlap": overlap}
    with duck.connect(lake) as connection:
        connection.register("wanted", wanted)
        series = connection.execute(_SERIES, {name: values[name] for name in ("source", "interval")}).fetchall()
        bars = connection.execute(_BESIDE, values).df()
    by_symbol = dict(iter(bars.groupby("symbol")))
    return {
        symbol: _Known(first, newest, own_first, own_last, by_symbol.get(symbol, bars[:0]))
        for symbol, first, newest, own_first, own_last in series
    }


def _rebased(bars: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Bars of a fallback with `adj_close` on the base of the known ones, which lacks the dividends since."""
    both = bars.merge(known, on="ts", suffixes=("", "_known"))
    bases = (both["adj_close_known"] / both["close_known"] / (both["adj_close"] / both["close"])).dropna()
    if bases.empty or abs(bases.median() - 1) <= _SAME_BASE:
        return bars
    return bars.assign(adj_close=bars["adj_close"] * round(bases.median(), 4))  # rounded: the same bars stay the same


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
    condition = (pc.field("batch_id") == batch.batch_id) & pc.field("rule").isin(list(_MISFITS))
    rows = lake.read("raw/rejects", ["symbol", "reason"], condition).to_pylist()
    return {row["symbol"]: row["reason"] for row in rows}


def _instrument(symbol: str, order: Sequence[LiveBars]) -> Instrument:
    first, *others = order
    fallbacks = ",".join(source.name for source in others)
    return Instrument(symbol, symbol, first.asset_class, None, first.calendar_of(symbol), first.name, fallbacks)
