"""US stock bars, splits and dividends from Polygon.io (now called Massive), in pages that are linked by next_url."""

from datetime import date, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pandas as pd

from lake.settings import Settings
from lake.sources.base import LiveBars
from lake.sources.http import Client, MalformedError, Patience

_SPANS = {"1d": "day", "1h": "hour", "1m": "minute"}
_HISTORY = {"1d": timedelta(days=365 * 40), "1h": timedelta(days=730), "1m": timedelta(days=30)}
_EVENTS = {
    "dividends": ("ex_dividend_date", "cash_amount", "currency"),
    "splits": ("execution_date", "split_to", "split_from"),
}
_FIELDS = {"t": "ts", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}


class PolygonSource(LiveBars):
    """Bars as traded; `adj_close` is adjusted for splits, for Polygon's aggregates know no dividends."""

    name = "polygon"
    origin = "polygon aggregates"
    intervals = ("1d", "1h", "1m")

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        client = Client(self.name, settings.polygon, patience, key_header="Authorization", key_prefix="Bearer ")
        super().__init__(client)

    def series(self, symbol: str, start: date | None, end: date | None, interval: str) -> pd.DataFrame:
        """Aggregates as traded, beside the closes of the split-adjusted ones; on days with what goes ex on them."""
        last = end or date.today()
        first = start or last - _HISTORY[interval]
        path = f"v2/aggs/ticker/{quote(symbol)}/range/1/{_SPANS[interval]}/{first}/{last}"
        bars, adjusted = (
            self._pages(path, symbol, _FIELDS, {"adjusted": adjusted, "sort": "asc", "limit": 50_000})
            for adjusted in ("false", "true")
        )
        bars = bars.merge(adjusted[["ts", "close"]].rename(columns={"close": "adj_close"}), on="ts", how="left")
        ts = pd.to_datetime(bars["ts"].astype("int64"), unit="ms", utc=True)
        if interval != "1d":
            return bars.assign(ts=ts)
        # A day starts at midnight in New York.
        ts = ts.dt.tz_convert("America/New_York").dt.tz_localize(None).dt.normalize().dt.tz_localize("UTC")
        days = bars.assign(ts=ts).set_index("ts")
        paid, split = (self._events(symbol, what, first, last) for what in _EVENTS)
        paid = paid[paid["currency"] == "USD"]  # like the bars
        ratio = split["split_to"].astype("float64") / split["split_from"].astype("float64")
        dividend = paid["cash_amount"].astype("float64").groupby(level="ts").sum()
        return days.assign(dividend=dividend, split=ratio.groupby(level="ts").prod()).reset_index()

    def _events(self, symbol: str, what: str, first: date, last: date) -> pd.DataFrame:
        day, *fields = _EVENTS[what]
        query = {"ticker": symbol, f"{day}.gte": first, f"{day}.lte": last, "limit": 1_000}
        events = self._pages(f"v3/reference/{what}", symbol, {day: "ts"} | {name: name for name in fields}, query)
        return events.assign(ts=pd.to_datetime(events["ts"], utc=True)).set_index("ts")

    def _pages(self, path: str, symbol: str, fields: dict[str, str], query: dict[str, object] | None) -> pd.DataFrame:
        results: list[dict[str, Any]] = []
        seen = {path}
        while True:
            page = self.client.get_json(path, symbol, query)
            self.client.field(page, symbol, "status")
            results += page.get("results") or []
            if not page.get("next_url"):
                break
            link = urlsplit(page["next_url"])  # its host is not trusted with our key
            path, query = f"{link.path}?{link.query}", None
            if path in seen:
                raise MalformedError(self.name, symbol, "next_url leads in a circle")
            seen.add(path)
        rows = [{ours: self.client.field(item, symbol, theirs) for theirs, ours in fields.items()} for item in results]
        return pd.DataFrame(rows, columns=list(fields.values()))
