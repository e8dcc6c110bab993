"""Volatility scores: QLIKE and squared error beside a naive forecast's, and the Mincer-Zarnowitz regression."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.evaluation.losses import qlike, squared_error


def volatility_metrics(outcome: FloatArray, mean: FloatArray, naive: FloatArray) -> dict[str, float]:
    """Scores of volatility forecasts; `naive` is the EWMA forecast that the gain is measured against."""
    own, baseline = float(np.mean(qlike(outcome, mean))), float(np.mean(qlike(outcome, naive)))
    mse = float(np.mean(squared_error(outcome, mean)))
    return {
        "qlike": own,
        "qlike_gain_vs_ewma": 1.0 - own / baseline,
        "mse": mse,
        "rmse_ratio_to_ewma": (mse / float(np.mean(squared_error(outcome, naive)))) ** 0.5,
    }


class MincerZarnowitz(NamedTuple):
    """`intercept` and `slope` (0 and 1 where forecasts mean what they say), and the p-value of that hypothesis."""

    intercept: float
    slope: float
    r2: float
    p_value: float


def mincer_zarnowitz(
    outcome: FloatArray, mean: FloatArray, ts: NDArray[np.datetime64], horizon: int
) -> MincerZarnowitz:
    """Regression of outcomes on forecasts, as variances in units of the mean variance.

    Errors are clustered by session and correlated over `horizon` - 1 sessions (Driscoll and Kraay).

    References
    ----------
    Mincer, Zarnowitz (1969), The evaluation of economic forecasts.
    Driscoll, Kraay (1998), Consistent covariance matrix estimation with spatially dependent panel data.
    """
    from statsmodels.regression.linear_model import OLS

    order = np.argsort(ts, kind="stable")
    _, session = np.unique(ts[order], return_inverse=True)
    unit = float(np.mean(outcome**2))
    design = np.stack([np.ones(len(mean)), mean[order] ** 2 / unit], axis=1)
    fitted = OLS(outcome[order] ** 2 / unit, design).fit(
        cov_type="hac-groupsum", cov_kwds={"time": session, "maxlags": horizon - 1}
    )
    honest = fitted.wald_test((np.eye(2), np.array([0.0, 1.0])), use_f=False, scalar=True)
    intercept, slope = map(float, fitted.params)
    return MincerZarnowitz(intercept, slope, float(fitted.rsquared), float(honest.pvalue))
