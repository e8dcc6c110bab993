"""GARCH: the volatility forecast of a GJR-GARCH with Student-t errors, for every session from its past alone."""

import hashlib
import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

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
    """The column `garch_vol` of :func:`garch`, with the index of `features`."""
    return garch(features, horizon=horizon)[GARCH_VOLATILITY].reindex(features.index)


def garch(features: pd.DataFrame, known: Mapping[str, Gjr] | None = None, *, horizon: int = 5) -> pd.DataFrame:
    """Volatility per session that is expected over the next `horizon` sessions, at every row, and its parameters.

    The parameters of a calendar year are estimated on the returns before it; within the year each session's return
    updates the variance. A row therefore depends on nothing after it.

    Parameters
    ----------
    features : columns `symbol`, `ts`, `close` of daily bars, in any order.
    known : parameters by the hash of the returns that they were estimated on, which need not be estimated again.

    Returns
    -------
    Sorted by symbol, then ts, with the index of `features`: symbol, ts, garch_vol (NaN at the first session of a
    symbol, which has no return), omega, alpha, gamma, beta, estimated_on (that hash; empty for RiskMetrics').
    """
    ordered = features[["symbol", "ts", "close"]].sort_values(["symbol", "ts"])
    parts = [_one_symbol(bars, known or {}, horizon) for _, bars in ordered.groupby("symbol", sort=False)]
    columns = (GARCH_VOLATILITY, *Gjr._fields, "estimated_on")
    values = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return ordered[["symbol", "ts"]].join(values)


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


def _one_symbol(bars: pd.DataFrame, known: Mapping[str, Gjr], horizon: int) -> pd.DataFrame:
    """Rows of one symbol, oldest first."""
    years = bars["ts"].dt.year.to_numpy()
    returns = PERCENT * np.diff(np.log(bars["close"].to_numpy(np.float64)))
    parts = []
    gjr, hashed = RISK_METRICS, ""
    for first, end in pairwise([0, *(np.flatnonzero(np.diff(years)) + 1), len(bars)]):
        year = slice(max(first - 1, 0), end - 1)  # its returns; the first bar of a symbol has none
        past = returns[max(0, year.start - MAX_SESSIONS) : year.start]
        if len(past) >= MIN_SESSIONS:
            hashed = hashlib.sha256(past.tobytes()).hexdigest()[:16]
            gjr = known[hashed] if hashed in known else estimate(past, gjr)
        read = np.r_[past, returns[year]]
        start = float(np.mean((past if len(past) else read[:1]) ** 2)) if len(read) else 0.0
        variance = mean_variance(filtered_variance(read, gjr, start)[len(past) :], gjr, horizon)
        volatility = np.maximum(np.sqrt(variance) / PERCENT, VOLATILITY_FLOOR)
        part = pd.DataFrame({GARCH_VOLATILITY: np.r_[[np.nan] * (end - first - len(volatility)), volatility]})
        parts.append(part.assign(**gjr._asdict(), estimated_on=hashed))
    return pd.concat(parts).set_axis(bars.index)
