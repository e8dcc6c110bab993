"""Bootstrap: confidence intervals of averages over forecasts that depend on each other, across symbols and in time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray

BLOCK_SESSIONS = 20
"""Sessions in a bootstrap block: longer than the overlap of two outcomes, about a month of volatility clustering."""
DRAWS = 2000


class Estimate(NamedTuple):
    """A number and its confidence interval."""

    value: float
    lower: float
    upper: float


def bootstrap_difference(
    difference: FloatArray,
    ts: NDArray[np.datetime64],
    *,
    seed: int,
    level: float = 0.95,
    block: int = BLOCK_SESSIONS,
    draws: int = DRAWS,
) -> Estimate:
    """Mean of a loss difference [N] (or of any other quantity) with its confidence interval."""
    means = _resampled_means(difference[:, None], ts, seed, block, draws)[:, 0]
    return _estimate(float(np.mean(difference)), means, level)


def bootstrap_gain(
    loss: FloatArray,
    reference: FloatArray,
    ts: NDArray[np.datetime64],
    *,
    seed: int,
    level: float = 0.95,
    block: int = BLOCK_SESSIONS,
    draws: int = DRAWS,
) -> Estimate:
    """Share of a reference's mean loss that a model saves, `1 - mean(loss) / mean(reference)`, with its interval."""
    means = _resampled_means(np.stack([loss, reference], axis=1), ts, seed, block, draws)
    return _estimate(1.0 - float(np.mean(loss) / np.mean(reference)), 1.0 - means[:, 0] / means[:, 1], level)


def _resampled_means(
    values: FloatArray, ts: NDArray[np.datetime64], seed: int, block: int, draws: int
) -> NDArray[np.float64]:
    """Means [draws, k] of values [N, k] under a circular block bootstrap over sessions.

    All symbols of a session stay together (they move together), and neighbouring sessions stay together (5-day
    outcomes overlap, volatility clusters).

    References
    ----------
    Politis, Romano (1992), A circular block-resampling procedure for stationary data.
    """
    _, session = np.unique(ts, return_inverse=True)
    totals = np.stack([np.bincount(session, column) for column in values.T] + [np.bincount(session)])
    n = totals.shape[1]
    block = min(block, max(1, n // 2))
    wrapped = np.concatenate([np.zeros((len(totals), 1)), totals, totals[:, : block - 1]], axis=1).cumsum(axis=1)
    starts = np.random.default_rng(seed).integers(0, n, size=(draws, -(-n // block)))
    sums = (wrapped[:, block:] - wrapped[:, :-block])[:, starts].sum(axis=2)
    return (sums[:-1] / sums[-1]).T


def _estimate(value: float, draws: FloatArray, level: float) -> Estimate:
    lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(lower), float(upper))
