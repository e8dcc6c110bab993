"""Adjusted closes that ship in the package skfolio (BSD-3): 20 large US stocks, the S&P 500 and 5 factor ETFs."""

from collections.abc import Sequence
from datetime import date

import pandas as pd

from lake.sources.base import closes_to_bars, cut

# Adjusted closes are rounded to 3 decimals: before 2000 that is up to 1 % of a price.
FIRST_SESSION = pd.Timestamp("2000-01-01")


class SkfolioSource:
    """Adjusted closes from 2000 (ETFs: 2014) to 2022-12-28; open, high, low and volume are not delivered."""

    name = "skfolio"
    origin = "skfolio.datasets"

    def fetch(self, symbols: Sequence[str], start: date | None, end: date | None) -> pd.DataFrame:
        """Bars as `lake.sources.base.Source` describes them."""
        from skfolio.datasets import load_factors_dataset, load_sp500_dataset, load_sp500_index

        bars = pd.concat(
            [
                closes_to_bars(load_sp500_dataset().truncate(before=FIRST_SESSION), "equity"),
                closes_to_bars(load_sp500_index().truncate(before=FIRST_SESSION), "index", "USD"),
                closes_to_bars(load_factors_dataset(), "etf"),
            ],
            ignore_index=True,
        )
        return cut(bars, symbols, start, end)
