"""Stock bars from a prices table of Nasdaq Data Link (once Quandl), 10,000 rows a page, linked by a cursor."""

from datetime import date

import pandas as pd

from lake.settings import Settings
from lake.sources.base import LiveBars
from lake.sources.http import Client, MalformedError, Patience

_PAGE = 10_000
_FIELDS = {"date": "ts", "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}
# QUOTEMEDIA/PRICES; WIKI/PRICES
_ACTIONS = {"dividend": "dividend", "split": "split", "ex-dividend": "dividend", "split_ratio": "split"}
_ADJUSTED = ("adj_close", "closeadj")  # QUOTEMEDIA/PRICES and WIKI/PRICES; SHARADAR/SEP


class NasdaqDataLinkSource(LiveBars):
    """Bars of `settings.nasdaq_data_link.table`, with the adjusted close, splits and dividends that the table has."""

    name = "nasdaq_data_link"

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        super().__init__(Client(self.name, settings.nasdaq_data_link, patience, key_header="X-Api-Token"))
        self._table = settings.nasdaq_data_link.table
        self.origin = self._table

    def series(self, symbol: str, start: date | None, end: date | None, interval: str) -> pd.DataFrame:
        """Rows of one ticker; a ticker that the table does not have is an empty answer."""
        query: dict[str, object] = {"ticker": symbol, "date.gte": start, "date.lte": end, "qopts.per_page": _PAGE}
        path = f"datatables/{self._table}.json"
        rows: list[dict[str, object]] = []
        seen = {""}
        while True:
            page = self.client.get_json(path, symbol, query)
            names = [column["name"] for column in self.client.field(page, symbol, "datatable", "columns")]
            rows += [dict(zip(names, row, strict=True)) for row in self.client.field(page, symbol, "datatable", "data")]
            cursor = self.client.field(page, symbol, "meta", "next_cursor_id")
            if not cursor:
                break
            if cursor in seen:
                raise MalformedError(self.name, symbol, "next_cursor_id leads in a circle")
            seen.add(cursor)
            query["qopts.cursor_id"] = cursor
        adjusted = next((name for name in _ADJUSTED if name in names), None)
        for theirs in _FIELDS:
            self.client.field(dict.fromkeys(names), symbol, theirs)
        frame = pd.DataFrame(rows, columns=names)
        bars = frame.filter([*_FIELDS, *_ACTIONS]).rename(columns=_FIELDS | _ACTIONS)
        return bars.assign(adj_close=frame[adjusted]) if adjusted else bars
