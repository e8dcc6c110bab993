"""Small seeded universes of `market/features` for the model tests: clustered volatility, fat tails, no trend."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from lake.settings import Settings
from ml.artifact import LoadedModel, pack
from ml.contract import Contract, golden, ranges
from ml.datasets import FEATURES, TARGETS, Panel, Target, label
from ml.gate import Decision
from ml.intervals import calibrate
from ml.models.base import Forecaster, Sample
from ml.registry import Registered, Registry
from ml.training import TrainingResult, train


def universe(symbols: int = 4, sessions: int = 700, seed: int = 0) -> pd.DataFrame:
    """Features of a GARCH-like universe: returns are noise, volatility clusters; the first 20 rows warm up (null)."""
    rng = np.random.default_rng(seed)
    ts = pd.bdate_range("2015-01-01", periods=sessions, tz="UTC").as_unit("us")
    return pd.concat([_symbol(f"S{i}", ts, rng) for i in range(symbols)], ignore_index=True)


def planted(target: str, strength: float) -> pd.DataFrame:
    """A universe in which one feature knows a share of what is to come."""
    features = universe(4, 700)
    signal = np.nan_to_num(label(features, TARGETS[target]))
    known = features["rsi_14_centered"].notna()
    noise = np.random.default_rng(5).normal(0, signal.std(), len(features))
    features.loc[known, "rsi_14_centered"] = (signal * strength + noise * (1 - strength))[known] / signal.std()
    return features


@cache
def trained(target: str, epochs: int) -> TrainingResult:
    """One training on a universe whose volatility can be learned, for all tests of a process."""
    return train(TARGETS[target], planted("volatility_5d", 0.9), seed=1, lookback=5, epochs=epochs)


@cache
def _store() -> bytes:
    """MLflow's empty store, which takes seconds to make."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mlflow.db"
        assert Registry(Settings(home=Path(folder), mlflow_tracking_uri=f"sqlite:///{file}")).client
        return file.read_bytes()


def empty_registry(home: Path) -> Registry:
    """A registry in a home of its own."""
    file = home / "mlflow" / "mlflow.db"
    file.parent.mkdir()
    file.write_bytes(_store())
    return Registry(Settings(home=home, mlflow_tracking_uri=f"sqlite:///{file}"))


def register(registry: Registry, result: TrainingResult, decision: Decision, lake: Any = None) -> dict[str, Registered]:
    """Log and register a training in a run of its own, as the asset does."""
    import mlflow

    assert registry.client
    with mlflow.start_run(experiment_id=registry.ensure_experiment("tests")):
        registry.log(result, decision)
        lake_versions = lake or {"market/features": 7}
        return registry.register(result, decision, lake_versions=lake_versions, code_version="test")


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
    frame["garch_vol"] = np.sqrt(squares.ewm(alpha=0.1, adjust=False).mean()).clip(lower=1e-4)  # any causal one
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
        tuple(sample.windows[:, -1].mean(axis=0).tolist()),
        golden(graph, sample.windows[0]),
    )
    return LoadedModel(target.name, version, "0" * 32, pack(graph, contract))
