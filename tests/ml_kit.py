"""Small seeded universes of `market/features` for the model tests: clustered volatility, fat tails, no trend."""

import numpy as np
import pandas as pd

from ml.artifact import LoadedModel, pack
from ml.contract import Contract, golden, ranges
from ml.datasets import FEATURES, Panel, Target, label
from ml.intervals import calibrate
from ml.models.base import Forecaster, Sample


def universe(symbols: int = 4, sessions: int = 700, seed: int = 0) -> pd.DataFrame:
    """Features of a GARCH-like universe: returns are noise, volatility clusters; the first 20 rows warm up (null)."""
    rng = np.random.default_rng(seed)
    ts = pd.bdate_range("2015-01-01", periods=sessions, tz="UTC").as_unit("us")
    return pd.concat([_symbol(f"S{i}", ts, rng) for i in range(symbols)], ignore_index=True)


def _symbol(name: str, ts: pd.DatetimeIndex, rng: np.random.Generator) -> pd.DataFrame:
    n = len(ts)
    variance, returns = 1e-4, np.zeros(n)
    for t in range(1, n):
        returns[t] = np.sqrt(variance) * rng.standard_normal()
        variance = 4e-6 + 0.10 * returns[t] ** 2 + 0.86 * variance
    frame = pd.DataFrame({"symbol": name, "asset_class": "equity", "interval": "1d", "ts": ts})
    frame["close"] = 100 * np.exp(np.cumsum(returns))
    frame["last_price"] = frame["close"]
    squares = pd.Series(returns**2)
    frame["ewma_vol"] = np.sqrt(squares.ewm(alpha=0.06, adjust=False).mean()).clip(lower=1e-4)
    for n_days in (1, 5, 20):
        frame[f"log_return_{n_days}"] = np.log(frame["close"]).diff(n_days)
        frame[f"scaled_return_{n_days}"] = frame[f"log_return_{n_days}"] / (frame["ewma_vol"] * np.sqrt(n_days))
    frame["log_ewma_vol"] = np.log(frame["ewma_vol"])
    for n_days in (5, 20):
        frame[f"log_vol_{n_days}"] = np.log(np.sqrt(squares.rolling(n_days).mean()).clip(lower=1e-4))
    for feature in FEATURES:
        if feature not in frame:
            frame[feature] = rng.standard_normal(n) * 0.1
    frame.loc[:20, list(FEATURES)] = np.nan
    return frame


def naive_model(kind: type[Forecaster], target: Target, version: str, features: pd.DataFrame) -> LoadedModel:
    """A baseline as a registered version, learned and calibrated on all rows; it needs no TensorFlow."""
    panel, model = Panel.of(features), kind(target)
    outcome, rows = label(panel.frame, target), panel.rows(model.lookback)
    rows = rows[np.isfinite(outcome[rows])]
    sample = Sample(panel.windows(rows, model.inputs, model.lookback), outcome[rows])
    mean = model.fit(sample, sample).predict(sample.windows)
    scale = panel.naive_volatility(rows, target.horizon) if target.kind == "return" else None
    graph = model.export()
    contract = Contract(
        target.name,
        model.name,
        model.inputs,
        model.lookback,
        0,
        calibrate(outcome[rows], mean, scale),
        ranges(sample.windows, model.inputs),
        golden(graph, sample.windows[0]),
    )
    return LoadedModel(target.name, version, "0" * 32, pack(graph, contract))
