"""The interface that every source of bars implements, and the columns of what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import pandas as pd

from lake.calendars import session_closes
from lake.sources.http import Client

NUMBER_COLUMNS = ("open", "high", "low", "close", "adj_close", "volume")
BAR_COLUMNS = ("symbol", "asset_class", "interval", "ts", *NUMBER_COLUMNS, "currency")
ACTION_COLUMNS = ("dividend", "split")
"""What goes ex with a daily bar, beside it: cash per share, new shares per old share. Null, 0 or 1:1 is nothing."""
SECTORS = (
    "energy",
    "materials",
    "industrials",
    "consumer_discretionary",
    "consumer_staples",
    "health_care",
    "financials",
    "information_technology",
    "communication_services",
    "utilities",
    "real_estate",
)
"""Sectors of companies: those of the Global Industry Classification Standard (GICS)."""
INTERVALS = {"1d": pd.Timedelta(days=1), "1h": pd.Timedelta(hours=1), "1m": pd.Timedelta(minutes=1)}


@dataclass(frozen=True)
class Instrument:
    """A series that a source knows; `source` is the preferred source for the whole of it.

    `fallbacks` names, comma-separated, the sources that may continue it where the preferred one fails. `ends_at` is the
    last session that the preferred source will ever have; None where it goes on. Of a live series only the bars say the
    `currency`. `sector` is one of `SECTORS`; None where it is not known, and of all but companies.
    """

    symbol: str
    name: str
    asset_class: str
    currency: str | None
    calendar: str
    source: str
    fallbacks: str = ""
    ends_at: datetime | None = None
    sector: str | None = None


class Source(Protocol):
    """A provider of bars.

    `fetch` returns one row a bar with the columns `BAR_COLUMNS` (`ts` tz-aware UTC, the session date at 00:00), for
    `symbols` (empty: all that the source has) and sessions from `start` to `end`, both included (None: no bound).
    Rows are returned as delivered: validation is the business of ingestion.
    """

    name: str
    origin: str

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame: ...


class LiveBars(ABC):
    """A provider of bars that is asked symbol by symbol; a subclass says how to get one series.

    Bars whose interval is not over yet are left for the next time; a daily bar is over when its session has closed.
    """

    name: str
    origin: str
    asset_class = "equity"
    calendar = "XNYS"
    intervals: tuple[str, ...] = ("1d",)

    def __init__(self, client: Client) -> None:
        self.client = client

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None, interval: str = "1d") -> pd.DataFrame:
        """Bars as `Source` describes them, of at least one symbol, with the columns `ACTION_COLUMNS` too.

        Raises
        ------
        lake.sources.http.SourceError : the provider did not deliver a symbol.
        ValueError : the provider has no such interval.
        """
        if interval not in self.intervals:
            raise ValueError(f"{self.name} has no bars of {interval}, only of {', '.join(self.intervals)}")
        frames = [self._complete(self.series(symbol, start, end, interval), symbol, interval) for symbol in symbols]
        return cut(pd.concat(frames, ignore_index=True), (), start, end)

    def calendar_of(self, symbol: str) -> str:
        """Exchange calendar of a symbol."""
        return self.calendar

    @abstractmethod
    def series(self, symbol: str, start: date | None, end: date | None, interval: str) -> pd.DataFrame:
        """Rows of one symbol: `ts`, and what the provider has of the other columns, numbers also as text."""

    def _complete(self, rows: pd.DataFrame, symbol: str, interval: str) -> pd.DataFrame:
        bars = rows.reindex(columns=[*BAR_COLUMNS, *ACTION_COLUMNS])
        for column in (*NUMBER_COLUMNS, *ACTION_COLUMNS):
            bars[column] = _numbers(bars[column])
        given = {"symbol": symbol, "asset_class": self.asset_class, "interval": interval, "currency": "USD"}
        for column, value in given.items():
            bars[column] = bars[column].astype("object").where(bars[column].notna(), value)
        bars["ts"] = pd.to_datetime(bars["ts"], utc=True).astype("datetime64[ns, UTC]")
        return bars[~self._unfinished(bars["ts"], symbol, interval)]

    def _unfinished(self, ts: pd.Series, symbol: str, interval: str) -> pd.Series:
        """Which bars are not over yet; a day on which the exchange has no session ends at midnight UTC."""
        now = datetime.now(UTC)
        ends = ts + INTERVALS[interval]
        if interval == "1d" and (ends > now).any():
            closes = session_closes(self.calendar_of(symbol), now.date() - timedelta(days=1), now.date())
            ends = ts.dt.tz_localize(None).map(closes).fillna(ends)
        return ends > now


class RowSource(Protocol):
    """A provider of something else than bars, in the columns of its raw table without source and batch.

    `fetch` takes series or symbols and raises `lake.sources.http.SourceError` when one is not delivered.
    """

    name: str
    origin: str
    table: str

    def fetch(self, names: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame: ...


def rows_frame(rows: Sequence[dict[str, Any]], columns: Sequence[str], numbers: Sequence[str] = ()) -> pd.DataFrame:
    """Rows as a frame; the columns named `ts`, `*_at` and `*_start` as UTC time stamps, `numbers` as float64."""
    frame = pd.DataFrame(list(rows), columns=list(columns))
    for column in columns:
        if column == "ts" or column.endswith(("_at", "_start")):
            frame[column] = pd.to_datetime(frame[column], utc=True, errors="coerce").astype("datetime64[ns, UTC]")
    for column in numbers:
        frame[column] = _numbers(frame[column])
    return frame


def actions_of(bars: pd.DataFrame) -> pd.DataFrame:
    """The corporate actions that came beside daily bars, in the columns of `raw/corporate_actions`."""
    bars = bars[(bars["interval"] == "1d") & (bars["dividend"].fillna(0).ne(0) | bars["split"].fillna(1).ne(1))]
    dividends = bars.assign(kind="dividend", value=bars["dividend"])
    splits = bars.assign(kind="split", value=bars["split"].where(bars["split"] != 1), currency=None)
    actions = pd.concat([frame[frame["value"].fillna(0) != 0] for frame in (dividends, splits)], ignore_index=True)
    return actions[["symbol", "ts", "kind", "value", "currency"]]


def _numbers(cells: pd.Series) -> pd.Series:
    try:
        return cells.astype("float64")  # as Python reads them: pandas' own parser may miss the last bit
    except (TypeError, ValueError):
        return pd.to_numeric(cells, errors="coerce").astype("float64")


def cut(bars: pd.DataFrame, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
    """The rows of `symbols` between `start` and `end`, for sources that hold everything in memory."""
    keep = pd.Series(True, index=bars.index)
    if symbols:
        keep &= bars["symbol"].isin(list(symbols))
    if start is not None:
        keep &= bars["ts"] >= pd.Timestamp(start, tz="UTC")
    if end is not None:
        keep &= bars["ts"] < pd.Timestamp(end, tz="UTC") + pd.Timedelta(days=1)
    columns = [*BAR_COLUMNS, *(column for column in ACTION_COLUMNS if column in bars)]
    return bars.loc[keep, columns].reset_index(drop=True)


def closes_to_bars(closes: pd.DataFrame, asset_class: str, currency: str = "USD") -> pd.DataFrame:
    """Bars of a wide table of closes (index: session, a column a symbol); open, high, low and volume stay null."""
    long = closes.rename_axis(index="ts").melt(var_name="symbol", value_name="close", ignore_index=False).reset_index()
    long["ts"] = pd.to_datetime(long["ts"], utc=True)
    return long.assign(
        asset_class=asset_class,
        interval="1d",
        currency=currency,
        adj_close=long["close"],
        **{column: float("nan") for column in ("open", "high", "low", "volume")},
    )[list(BAR_COLUMNS)]
