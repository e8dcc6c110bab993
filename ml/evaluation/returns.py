"""Return scores: errors, direction beside its base rate, order of the symbols, classes up, flat and down."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from ml.arrays import FloatArray
from ml.evaluation.hac import standard_error
from ml.evaluation.losses import squared_error

CLASSES = ("down", "flat", "up")
FLAT = 0.25
"""A return is flat where it is within this share of the volatility expected over the horizon."""


def return_metrics(outcome: FloatArray, mean: FloatArray, historical_mean: float | FloatArray) -> dict[str, float]:
    """Scores of return forecasts. The directional accuracy stands beside its base rate, the share of ups.

    `r2_vs_mean` is R2 out of sample: `historical_mean` is what was known of it when each forecast was made.

    References
    ----------
    Campbell, Thompson (2008), Predicting excess stock returns out of sample.
    """
    mse = float(np.mean(squared_error(outcome, mean)))
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


class RankIC(NamedTuple):
    """Mean over sessions of the rank correlation across symbols, its t statistic, and how many sessions there were."""

    mean: float
    t: float
    sessions: int


def rank_ic(outcome: FloatArray, mean: FloatArray, ts: NDArray[np.datetime64], horizon: int) -> RankIC | None:
    """Rank information coefficient; None where no session has forecasts that differ.

    The t statistic allows for outcomes that overlap by `horizon` - 1 sessions.

    References
    ----------
    Grinold, Kahn (2000), Active Portfolio Management, chapter 6.
    """
    order = np.argsort(ts, kind="stable")
    _, first = np.unique(ts[order], return_index=True)
    correlations = [
        float(np.corrcoef(rankdata(outcome[rows]), rankdata(mean[rows]))[0, 1])
        for rows in np.split(order, first[1:])
        if len(rows) > 2 and np.ptp(mean[rows]) > 0 and np.ptp(outcome[rows]) > 0
    ]
    if len(correlations) <= horizon:
        return None
    series = np.asarray(correlations)
    return RankIC(float(series.mean()), float(series.mean()) / standard_error(series, horizon - 1), len(series))


def direction_report(outcome: FloatArray, mean: FloatArray, volatility: FloatArray) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of the classes up, flat and down.

    `volatility` [N], expected over the horizon when the forecast was made, says what is flat.
    """
    from sklearn.metrics import precision_recall_fscore_support

    actual, said = (np.digitize(values / volatility, [-FLAT, FLAT]) for values in (outcome, mean))
    scores = precision_recall_fscore_support(actual, said, labels=[0, 1, 2], zero_division=0.0)
    names = ("precision", "recall", "f1", "support")
    return {c: {n: float(s[i]) for n, s in zip(names, scores, strict=True)} for i, c in enumerate(CLASSES)}
