"""Comparison: whether one forecast is better than another by more than luck."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.arrays import FloatArray
from ml.evaluation.hac import session_means, standard_error


class PairedTest(NamedTuple):
    """A test statistic and its p-value."""

    statistic: float
    p_value: float


def diebold_mariano(loss: FloatArray, reference: FloatArray, ts: NDArray[np.datetime64], horizon: int) -> PairedTest:
    """Equal accuracy of two forecasts, against either being better; a negative statistic favours `loss`.

    With the small-sample correction of Harvey, Leybourne and Newbold, and Student's t instead of the normal.

    References
    ----------
    Diebold, Mariano (1995), Comparing predictive accuracy.
    Harvey, Leybourne, Newbold (1997), Testing the equality of prediction mean squared errors.
    """
    series = session_means(loss - reference, ts)
    n = len(series)
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = float(series.mean()) / standard_error(series, horizon - 1) * correction**0.5
    return PairedTest(statistic, float(2 * stats.t.sf(abs(statistic), n - 1)))


def clark_west(
    outcome: FloatArray, nested: FloatArray, larger: FloatArray, ts: NDArray[np.datetime64], horizon: int
) -> PairedTest:
    """Whether a larger model adds to the one that it nests (a learned mean to the historical mean); one-sided.

    The noise of the parameters that are zero under the null makes the larger model look worse than it is; the squared
    difference of the forecasts takes that out. A positive statistic favours the larger model.

    References
    ----------
    Clark, West (2007), Approximately normal tests for equal predictive accuracy in nested models.
    """
    adjusted = (outcome - nested) ** 2 - ((outcome - larger) ** 2 - (nested - larger) ** 2)
    series = session_means(adjusted, ts)
    statistic = float(series.mean()) / standard_error(series, horizon - 1)
    return PairedTest(statistic, float(stats.norm.sf(statistic)))
