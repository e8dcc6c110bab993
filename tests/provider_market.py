"""Two providers of bars on loopback, of which a test says what each of them knows and whether it is up."""

import threading
from typing import Any

import pandas as pd

from lake.sources.base import ACTION_COLUMNS
from lake.sources.http import Patience
from tests.bars import walk
from tests.provider_server import Answer, ProviderServer, Request

QUICK = Patience(attempts=1, backoff=0.01)
FIRST, SECOND = "nasdaq_data_link", "alpha_vantage"


class Market:
    """Two providers on one server: what each of them knows, and whether it is up."""

    def __init__(self, server: ProviderServer) -> None:
        self.server = server
        self.bars: dict[str, pd.DataFrame] = {}
        self.down: set[str] = set()
        self.holds, self.held = (
            "",
            threading.Event(),
        )  # the symbol for which nothing comes any more, and that it was asked
        server.answer = self._answer

    def _answer(self, request: Request) -> Any:
        name = SECOND if request.path == "/query" else FIRST
        if name in self.down:
            return Answer("<html>", 503)
        symbol = request.query.get("symbol") or request.query["ticker"]
        if symbol == self.holds:
            self.held.set()
            return Answer(delay=10)
        bars = self.bars.get(name, walk()[:0])
        bars = bars[bars["symbol"] == symbol]
        return self._nasdaq(bars, request) if name == FIRST else self._alpha_vantage(bars, request)

    @staticmethod
    def _nasdaq(bars: pd.DataFrame, request: Request) -> Any:
        bars = bars[bars["ts"] >= pd.Timestamp(request.query.get("date.gte", "1990-01-01"), tz="UTC")]
        bars = bars[bars["ts"] <= pd.Timestamp(request.query.get("date.lte", "2050-01-01"), tz="UTC")]
        columns = ["date", "open", "high", "low", "close", "adj_close", "volume"]
        columns += [column for column in ACTION_COLUMNS if column in bars]
        rows = bars.assign(date=bars["ts"].dt.strftime("%Y-%m-%d"))[columns].to_numpy().tolist()
        return {
            "datatable": {"data": rows, "columns": [{"name": name} for name in columns]},
            "meta": {"next_cursor_id": None},
        }

    @staticmethod
    def _alpha_vantage(bars: pd.DataFrame, request: Request) -> Any:
        if month := request.query.get("month"):
            bars = bars[bars["ts"].dt.strftime("%Y-%m") == month]
        names = {"1. open": "open", "2. high": "high", "3. low": "low", "4. close": "close", "6. volume": "volume"}
        series = {
            f"{bar['ts']:%Y-%m-%d %H:%M}": {theirs: str(bar[ours]) for theirs, ours in names.items()}
            for bar in bars.to_dict(orient="records")
        }
        return {"Meta Data": {"6. Time Zone": "UTC"}, "Time Series": series}

    @property
    def variables(self) -> dict[str, str]:
        """The settings that lead to these providers, for AAPL and NEWCO."""
        found = {"LAKEHOUSE_SOURCES": f"AAPL, NEWCO: {FIRST}, {SECOND}"}
        for name in (FIRST, SECOND, "bcrp", "fred", "edgar", "news"):
            found[f"LAKEHOUSE_{name.upper()}__BASE_URL"] = self.server.url
            found[f"LAKEHOUSE_{name.upper()}__REQUESTS_PER_MINUTE"] = "1000000"
        return found | {f"LAKEHOUSE_{name.upper()}__KEY": "k" for name in (FIRST, SECOND)}
