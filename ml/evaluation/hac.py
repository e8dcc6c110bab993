"""HAC: the standard error of a mean whose terms are correlated in time, as losses of overlapping outcomes are."""

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray


def session_means(values: FloatArray, ts: NDArray[np.datetime64]) -> FloatArray:
    """Mean over the symbols of each session, in order of time: symbols move together and count as one observation."""
    _, session = np.unique(ts, return_inverse=True)
    means: FloatArray = np.bincount(session, values) / np.bincount(session)
    return means


def standard_error(series: FloatArray, lags: int) -> float:
    """Standard error of the mean of a series [T], from its autocovariances up to `lags`, equally weighted.

    The forecast errors of an optimal forecast over h periods are correlated up to lag h - 1 and no further.

    References
    ----------
    Diebold, Mariano (1995), Comparing predictive accuracy, section 1.1.

    Raises
    ------
    ValueError
        If the estimate of the variance is not positive: the series is too short or constant.
    """
    n = len(series)
    centred = series - series.mean()
    autocovariances = [float(centred[lag:] @ centred[: n - lag]) / n for lag in range(min(lags, n - 1) + 1)]
    variance = autocovariances[0] + 2 * sum(autocovariances[1:])
    if variance <= 0:
        raise ValueError(
            f"no standard error from {n} observations and {lags} lags: their long-run variance is not positive"
        )
    return float(np.sqrt(variance / n))
