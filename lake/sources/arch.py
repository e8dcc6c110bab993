"""Prices that ship in the package arch (NCSA): S&P 500 and NASDAQ bars 1999-2018, WTI crude and the VIX as closes."""

from collections.abc import Sequence
from datetime import date
from importlib import import_module

import pandas as pd

from lake.sources.base import BAR_COLUMNS, closes_to_bars, cut


class ArchSource:
    """Two indices with open, high, low, close and volume; oil and volatility as closes, with gaps on holidays."""

    name = "arch"
    origin = "arch.data"

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Bars as `lake.sources.base.Source` describes them."""
        bars = pd.concat(
            [
                _index_bars("sp500", "SP500"),
                _index_bars("nasdaq", "NASDAQ"),
                closes_to_bars(_load("wti").set_axis(["WTI"], axis=1), "commodity"),
                closes_to_bars(_load("vix").set_axis(["VIX"], axis=1), "volatility", "PCT"),
            ],
            ignore_index=True,
        )
        return cut(bars, symbols, start, end)


def _load(dataset: str) -> pd.DataFrame:
    frame: pd.DataFrame = import_module(f"arch.data.{dataset}").load()
    return frame


def _index_bars(dataset: str, symbol: str) -> pd.DataFrame:
    frame = _load(dataset)
    frame = frame.rename(columns=lambda column: column.lower().replace(" ", "_"))
    frame = frame.rename_axis("ts").reset_index()
    return frame.assign(
        ts=pd.to_datetime(frame["ts"], utc=True),
        volume=frame["volume"].astype("float64"),
        symbol=symbol,
        asset_class="index",
        interval="1d",
        currency="USD",
    )[list(BAR_COLUMNS)]
