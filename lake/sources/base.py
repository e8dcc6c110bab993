"""The interface that every source of bars implements, and the columns of what it returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import pandas as pd

NUMBER_COLUMNS = ("open", "high", "low", "close", "adj_close", "volume")
BAR_COLUMNS = ("symbol", "asset_class", "interval", "ts", *NUMBER_COLUMNS, "currency")


@dataclass(frozen=True)
class Instrument:
    """A series that a source knows; `source` is the preferred source for the whole of it."""

    symbol: str
    name: str
    asset_class: str
    currency: str
    calendar: str
    source: str


class Source(Protocol):
    """A provider of bars.

    `fetch` returns one row a bar with the columns `BAR_COLUMNS` (`ts` tz-aware UTC, the session date at 00:00), for
    `symbols` (empty: all that the source has) and sessions from `start` to `end`, both included (None: no bound).
    Rows are returned as delivered: validation is the business of ingestion.
    """

    name: str
    origin: str

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame: ...


def cut(bars: pd.DataFrame, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
    """The rows of `symbols` between `start` and `end`, for sources that hold everything in memory."""
    keep = pd.Series(True, index=bars.index)
    if symbols:
        keep &= bars["symbol"].isin(list(symbols))
    if start is not None:
        keep &= bars["ts"] >= pd.Timestamp(start, tz="UTC")
    if end is not None:
        keep &= bars["ts"] <= pd.Timestamp(end, tz="UTC")
    return bars.loc[keep, list(BAR_COLUMNS)].reset_index(drop=True)


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
