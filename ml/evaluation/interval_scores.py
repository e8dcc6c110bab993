"""Interval scores: whether forecast intervals hold what they promise, and how wide they are for that."""

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray


def inside(outcome: FloatArray, bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each outcome [N] is within its bounds [N, 2]."""
    return (outcome >= bounds[:, 0]) & (outcome <= bounds[:, 1])


def interval_score(outcome: FloatArray, bounds: NDArray[np.float64], level: float) -> FloatArray:
    """Width of each interval, plus 2 / (1 - level) times the distance by which it was missed. Lower is better.

    References
    ----------
    Gneiting, Raftery (2007), Strictly proper scoring rules, prediction, and estimation, section 6.2.
    """
    lower, upper = bounds[:, 0], bounds[:, 1]
    missed = np.maximum(lower - outcome, 0.0) + np.maximum(outcome - upper, 0.0)
    score: FloatArray = upper - lower + 2.0 / (1.0 - level) * missed
    return score


def interval_metrics(outcome: FloatArray, bounds: NDArray[np.float64], level: float) -> dict[str, float]:
    """Coverage, mean width and interval score of intervals [N, 2] of one level."""
    return {
        "coverage": float(np.mean(inside(outcome, bounds))),
        "width": float(np.mean(bounds[:, 1] - bounds[:, 0])),
        "interval_score": float(np.mean(interval_score(outcome, bounds, level))),
    }
