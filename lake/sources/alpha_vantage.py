"""Stock bars from Alpha Vantage, which reports its errors and limits as sentences with status 200."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pandas as pd

from lake.settings import Settings
from lake.sources.base import LiveBars
from lake.sources.http import (
    AccessError,
    ChangedFormatError,
    Client,
    Patience,
    RateLimitedError,
    Reply,
    UnknownSymbolError,
)

_INTRADAY = {"1h": "60min", "1m": "1min"}
_COMPACT = timedelta(days=120)  # the newest 100 sessions are answered in short form
_DAILY_LIMIT_REST = 3600.0
_ADJUSTED = {"adjusted close": "adj_close", "dividend amount": "dividend", "split coefficient": "split"}
_FIELDS = {"open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}


class AlphaVantageSource(LiveBars):
    """Bars as traded; `adj_close`, splits and dividends from the adjusted daily function only."""

    name = "alpha_vantage"
    origin = "alpha vantage time series"
    intervals = ("1d", "1h", "1m")

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        super().__init__(Client(self.name, settings.alpha_vantage, patience, key_parameter="apikey"))
        self._daily = settings.alpha_vantage.table

    def series(self, symbol: str, start: date | None, end: date | None, interval: str) -> pd.DataFrame:
        """The whole daily series, or intraday bars month by month (without `start`: this month and the last)."""
        if interval == "1d":
            recent = start is not None and date.today() - start < _COMPACT
            query = {"function": self._daily, "outputsize": "compact" if recent else "full"}
            return self._ask(symbol, query)
        query = {"function": "TIME_SERIES_INTRADAY", "interval": _INTRADAY[interval], "outputsize": "full"}
        query |= {"adjusted": "false", "extended_hours": "false"}
        return pd.concat([self._ask(symbol, query | {"month": month}) for month in _months(start, end)])

    def _ask(self, symbol: str, query: dict[str, str]) -> pd.DataFrame:
        send = lambda: self.client.send("query", symbol, query | {"symbol": symbol})  # noqa: E731
        document = self.client.ask(symbol, send, self._document)
        name = next((name for name in document if name.startswith("Time Series")), None)
        if name is None:
            found = ", ".join(document)
            raise ChangedFormatError(self.name, symbol, f"'Time Series' is missing; found {found}")
        rows = [{"ts": ts, **self._row(bar, symbol)} for ts, bar in document[name].items()]
        frame = pd.DataFrame(rows, columns=["ts", *_FIELDS, *_ADJUSTED.values()])
        ts = pd.to_datetime(frame["ts"])
        zone = next((value for key, value in document.get("Meta Data", {}).items() if "Time Zone" in key), "US/Eastern")
        utc = ts.dt.tz_localize("UTC") if "DAILY" in query["function"] else ts.dt.tz_localize(zone).dt.tz_convert("UTC")
        return frame.assign(ts=utc)

    def _row(self, bar: dict[str, str], symbol: str) -> dict[str, str | None]:
        values = {name.partition(". ")[2]: value for name, value in bar.items()}  # "4. close"
        found = {ours: self.client.field(values, symbol, theirs) for theirs, ours in _FIELDS.items()}
        return found | {ours: values.get(theirs) for theirs, ours in _ADJUSTED.items()}

    def _document(self, reply: Reply, symbol: str) -> dict[str, Any]:
        document: dict[str, Any] = self.client.json_of(reply, symbol)
        if error := document.get("Error Message"):
            kind = AccessError if "apikey" in error.lower() else UnknownSymbolError
            raise kind(self.name, symbol, self.client.redacted(error))
        if notice := document.get("Note") or document.get("Information"):
            said = self.client.redacted(notice)
            if "premium endpoint" in said.lower() or "premium feature" in said.lower():
                raise AccessError(self.name, symbol, said)
            rest = _DAILY_LIMIT_REST if "per day" in said and "per minute" not in said else None
            raise RateLimitedError(self.name, symbol, said, rest)
        return document


def _months(start: date | None, end: date | None) -> Iterator[str]:
    last = end or date.today()
    first = start or last.replace(day=1) - timedelta(days=1)
    yield from pd.period_range(first, last, freq="M").strftime("%Y-%m")
