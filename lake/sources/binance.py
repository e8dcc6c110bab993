"""Crypto bars from Binance's public klines: no key, 1,000 bars a page, days from 00:00 to 24:00 UTC."""

from datetime import date

import pandas as pd

from lake.settings import Settings
from lake.sources.base import LiveBars
from lake.sources.http import Client, Patience

_PAGE = 1000
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD", "EUR", "TRY", "BRL", "BTC", "ETH", "BNB")
_COLUMNS = ("ts", "open", "high", "low", "close", "volume")  # the rest of a kline is not stored


class BinanceSource(LiveBars):
    """Open, high, low, close and volume in the base asset; crypto has no corporate actions, so nothing is adjusted."""

    name = "binance"
    origin = "binance klines"
    asset_class = "crypto"
    calendar = "24/7"
    intervals = ("1d", "1h", "1m")

    def __init__(self, settings: Settings, patience: Patience = Patience()) -> None:  # noqa: B008 (frozen)
        super().__init__(Client(self.name, settings.binance, patience))

    def series(self, symbol: str, start: date | None, end: date | None, interval: str) -> pd.DataFrame:
        """Klines of a pair such as BTCUSDT, page by page from `start`."""
        since = _milliseconds(start) if start else 0
        until = _milliseconds(end) + 86_400_000 - 1 if end else None
        klines: list[list[object]] = []
        while True:
            query = {"symbol": symbol, "interval": interval, "limit": _PAGE, "startTime": since, "endTime": until}
            page = self.client.get_json("api/v3/klines", symbol, query)
            for kline in page:
                self.client.field(kline, symbol, 11)
            klines += page
            if len(page) < _PAGE:
                break
            since = int(page[-1][0]) + 1
        rows = pd.DataFrame([kline[: len(_COLUMNS)] for kline in klines], columns=list(_COLUMNS))
        currency = next((quote for quote in _QUOTES if symbol.endswith(quote)), "USD")
        return rows.assign(
            ts=pd.to_datetime(rows["ts"].astype("int64"), unit="ms", utc=True),
            adj_close=rows["close"],
            currency=currency,
        )


def _milliseconds(day: date) -> int:
    return int(pd.Timestamp(day, tz="UTC").timestamp() * 1000)
