"""Bars for tests: a short random walk a symbol, in the shape that a source delivers."""

import numpy as np
import pandas as pd

from lake.sources.base import BAR_COLUMNS

PRICES = ["open", "high", "low", "close", "adj_close"]


def walk(symbol: str = "AAPL", sessions: int = 60, start: str = "2022-01-03", seed: int = 0) -> pd.DataFrame:
    """Daily bars with all fields; high and low enclose open and close."""
    generator = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, sessions)))
    opening = close * np.exp(generator.normal(0, 0.002, sessions))
    frame = pd.DataFrame(
        {
            "symbol": symbol,
            "asset_class": "equity",
            "interval": "1d",
            "ts": pd.bdate_range(start, periods=sessions, tz="UTC"),
            "open": opening,
            "high": np.maximum(opening, close) * 1.001,
            "low": np.minimum(opening, close) * 0.999,
            "close": close,
            "adj_close": close,
            "volume": generator.integers(1_000, 9_000, sessions).astype("float64"),
            "currency": "USD",
        }
    )
    return frame[list(BAR_COLUMNS)]
