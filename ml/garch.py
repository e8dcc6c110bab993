"""GARCH: the volatility forecast of a GJR-GARCH with Student-t errors, for every session from its past alone."""

import logging
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.contract import VOLATILITY_FLOOR
from ml.datasets import GARCH_VOLATILITY

logger = logging.getLogger(__name__)

PERCENT = 100.0
"""Returns are estimated in percent: the optimiser of `arch` wants numbers near one."""
MIN_SESSIONS = 504
MAX_SESSIONS = 2520
"""Returns that an estimation needs, and the newest that it reads at most: two and ten years."""


class Gjr(NamedTuple):
    """Daily variance h(t+1) = omega + (alpha + gamma [r(t) < 0]) r(t)² + beta h(t), of returns in percent.

    References
    ----------
    Glosten, Jagannathan, Runkle (1993), On the relation between the expected value and the volatility of the nominal
    excess return on stocks.
    """

    omega: float
    alpha: float
    gamma: float
    beta: float


RISK_METRICS = Gjr(0.0, 0.06, 0.0, 0.94)
"""The parameters of a series that is too short for its own: an exponentially weighted average of squared returns."""


def garch_volatility(features: pd.DataFrame, horizon: int = 5) -> pd.Series:
    """Volatility per session that is expected over the next `horizon` sessions, at every row.

    The parameters of a calendar year are estimated on the returns before it; within the year each session's return
    updates the variance. A row therefore depends on nothing after it.

    Parameters
    ----------
    features : columns `symbol`, `ts`, `close` of daily bars, in any order.

    Returns
    -------
    float64 with the index of `features`; NaN at the first session of a symbol, which has no return.
    """
    ordered = features.sort_values(["symbol", "ts"])
    parts = [
        pd.Series(_one_symbol(bars["close"].to_numpy(np.float64), bars["ts"].dt.year.to_numpy(), horizon), bars.index)
        for _, bars in ordered.groupby("symbol", sort=False)
    ]
    found = pd.concat(parts) if parts else pd.Series(dtype=np.float64)
    return found.reindex(features.index).rename(GARCH_VOLATILITY)


def estimate(returns: FloatArray, before: Gjr) -> Gjr:
    """Parameters of highest likelihood under Student-t errors; `before` where the search does not converge.

    Parameters
    ----------
    returns : in percent, oldest first.
    """
    from arch import arch_model

    model = arch_model(returns, mean="Zero", vol="GARCH", p=1, o=1, q=1, dist="t", rescale=False)
    found = model.fit(disp="off", show_warning=False)
    if found.convergence_flag != 0 or not np.isfinite(found.params).all():
        logger.warning("GJR-GARCH did not converge on %d returns: the parameters of the year before stay", len(returns))
        return before
    return Gjr(*(float(value) for value in found.params.iloc[:4]))


def filtered_variance(returns: FloatArray, gjr: Gjr, start: float) -> FloatArray:
    """Variance of the next session after each return [N]; `start` is that of the first one."""
    from scipy.signal import lfilter

    news = gjr.omega + (gjr.alpha + gjr.gamma * (returns < 0)) * returns**2
    variance, _ = lfilter([1.0], [1.0, -gjr.beta], news, zi=[gjr.beta * start])
    return np.asarray(variance)


def mean_variance(variance: FloatArray, gjr: Gjr, horizon: int) -> FloatArray:
    """Average expected variance of the next `horizon` sessions, from that of the next one [N]."""
    persistence = gjr.alpha + gjr.gamma / 2 + gjr.beta
    total, step = np.zeros_like(variance), variance
    for _ in range(horizon):
        total += step
        step = gjr.omega + persistence * step
    return total / horizon


def _one_symbol(close: FloatArray, years: NDArray[np.integer], horizon: int) -> FloatArray:
    """Rows of one symbol, oldest first."""
    volatility = np.full(len(close), np.nan)
    returns = PERCENT * np.diff(np.log(close))
    gjr = RISK_METRICS
    edges = [1, *(np.flatnonzero(np.diff(years)) + 1), len(close)]
    for first, end in pairwise(dict.fromkeys(edges)):
        past = returns[max(0, first - 1 - MAX_SESSIONS) : first - 1]
        if len(past) >= MIN_SESSIONS:
            gjr = estimate(past, gjr)
        known = returns[max(0, first - 1 - MAX_SESSIONS) : end - 1]
        variance = filtered_variance(known, gjr, start=float(np.mean((past if len(past) else known[:1]) ** 2)))
        newest = mean_variance(variance[len(past) :], gjr, horizon)
        volatility[first:end] = np.maximum(np.sqrt(newest) / PERCENT, VOLATILITY_FLOOR)
    return volatility
