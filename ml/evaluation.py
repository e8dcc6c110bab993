"""Evaluation: losses and scores of forecasts against outcomes, and the confidence interval of a loss difference."""

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.datasets import Target

BLOCK_SESSIONS = 20
"""Sessions in a bootstrap block: longer than the overlap of two outcomes, about a month of volatility clustering."""


def loss(target: Target, outcome: FloatArray, mean: FloatArray) -> FloatArray:
    """Loss of each forecast: squared error of a return, QLIKE of a volatility."""
    return (outcome - mean) ** 2 if target.kind == "return" else qlike(outcome, mean)


def qlike(outcome: FloatArray, mean: FloatArray) -> FloatArray:
    """QLIKE of volatility forecasts, on variances: h = outcome² / mean²; h - log h - 1. Zero is perfect.

    References
    ----------
    Patton (2011), Volatility forecast comparison using imperfect volatility proxies.
    """
    ratio = (outcome / mean) ** 2
    return ratio - np.log(ratio) - 1.0


def return_metrics(outcome: FloatArray, mean: FloatArray, historical_mean: float) -> dict[str, float]:
    """Scores of return forecasts. The directional accuracy stands beside its base rate, the share of ups."""
    mse = float(np.mean((outcome - mean) ** 2))
    mse_zero = float(np.mean(outcome**2))
    mse_mean = float(np.mean((outcome - historical_mean) ** 2))
    return {
        "rmse": mse**0.5,
        "mae": float(np.mean(np.abs(outcome - mean))),
        "r2_vs_mean": 1.0 - mse / mse_mean,
        "rmse_ratio_to_zero": (mse / mse_zero) ** 0.5,
        "rmse_ratio_to_mean": (mse / mse_mean) ** 0.5,
        "directional_accuracy": float(np.mean((mean > 0) == (outcome > 0))),
        "directional_base_rate": float(np.mean(outcome > 0)),
    }


def volatility_metrics(outcome: FloatArray, mean: FloatArray, naive: FloatArray) -> dict[str, float]:
    """Scores of volatility forecasts; `naive` is the EWMA forecast that the gain is measured against."""
    own, baseline = float(np.mean(qlike(outcome, mean))), float(np.mean(qlike(outcome, naive)))
    return {
        "qlike": own,
        "qlike_gain_vs_ewma": 1.0 - own / baseline,
        "mse": float(np.mean((outcome - mean) ** 2)),
        "rmse_ratio_to_ewma": float(np.mean((outcome - mean) ** 2) / np.mean((outcome - naive) ** 2)) ** 0.5,
    }


def bootstrap_difference(
    difference: FloatArray,
    ts: NDArray[np.datetime64],
    *,
    seed: int,
    level: float = 0.95,
    block: int = BLOCK_SESSIONS,
    draws: int = 2000,
) -> tuple[float, float, float]:
    """Mean of a loss difference [N] and its confidence interval (mean, lower, upper).

    Circular block bootstrap over sessions: all symbols of a session stay together (they move together), and
    neighbouring sessions stay together (5-day outcomes overlap, volatility clusters).

    References
    ----------
    Politis, Romano (1992), A circular block-resampling procedure for stationary data.
    """
    _, session = np.unique(ts, return_inverse=True)
    total, count = np.bincount(session, difference), np.bincount(session).astype(np.float64)
    n = len(total)
    block = min(block, max(1, n // 2))
    wrapped_total = np.r_[0.0, np.cumsum(np.r_[total, total[: block - 1]])]
    wrapped_count = np.r_[0.0, np.cumsum(np.r_[count, count[: block - 1]])]
    starts = np.random.default_rng(seed).integers(0, n, size=(draws, -(-n // block)))
    sums = (wrapped_total[starts + block] - wrapped_total[starts]).sum(axis=1)
    counts = (wrapped_count[starts + block] - wrapped_count[starts]).sum(axis=1)
    lower, upper = np.quantile(sums / counts, [(1 - level) / 2, (1 + level) / 2])
    return float(np.mean(difference)), float(lower), float(upper)
