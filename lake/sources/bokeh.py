"""Prices that ship in the package bokeh_sampledata (public domain): AAPL, FB, GOOG, IBM and MSFT, 2000 to 2013."""

from collections.abc import Sequence
from datetime import date

import pandas as pd

from lake.sources.base import cut


class BokehSource:
    """Open, high, low, close and volume as traded, with the adjusted close beside them."""

    name = "bokeh"
    origin = "bokeh_sampledata.stocks"

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Bars as `lake.sources.base.Source` describes them."""
        from bokeh_sampledata.stocks import data

        bars = data.rename(columns={"ticker": "symbol", "date": "ts"})
        bars = bars.assign(
            ts=pd.to_datetime(bars["ts"], utc=True),
            volume=bars["volume"].astype("float64"),
            asset_class="equity",
            interval="1d",
            currency="USD",
        )
        return cut(bars, symbols, start, end)
