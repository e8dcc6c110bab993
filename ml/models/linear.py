"""Linear: forecasts that are a weighted sum of the newest features, HAR for volatilities and ridge for returns."""

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray, Windows
from ml.models.base import Sample, ScaledForecaster
from ml.models.graph import Graph
from ml.models.standardise import Standardise


class Ridge(ScaledForecaster):
    """Linear regression on the standardised newest row, with shrinkage."""

    name = "ridge"
    lookback = 1
    penalty = 0.1
    """Weight of the squared coefficients, as a share of the number of rows: a feature alone keeps 1 / (1 + penalty)."""
    _standardise: Standardise
    _weights: NDArray[np.float32]

    def _fit(self, train: Sample, validation: Sample) -> None:
        from sklearn.linear_model import Ridge as Regression

        newest = train.windows[:, -1]
        self._standardise = Standardise.of(newest)
        found = Regression(alpha=self.penalty * len(newest)).fit(self._standardise(newest), train.outcome)
        self._weights = np.r_[found.coef_, found.intercept_].astype(np.float32)

    def _predict(self, windows: Windows) -> FloatArray:
        return np.asarray(self._standardise(windows[:, -1]).astype(np.float64) @ self._weights[:-1] + self._weights[-1])

    def _export(self, graph: Graph) -> str:
        scaled = self._standardise.export(graph, graph.last_step())
        return graph.add("Gemm", scaled, graph.constant(self._weights[:-1, None]), graph.constant(self._weights[-1:]))


class Har(Ridge):
    """The heterogeneous autoregression in logarithms: past volatilities of a week, a month and a quarter.

    The place of yesterday's realised volatility has the EWMA volatility, because a single squared return says little.

    References
    ----------
    Corsi (2009), A simple approximate long-memory model of realized volatility.
    """

    name = "har"
    inputs = ("log_ewma_vol", "log_vol_5", "log_vol_20", "log_vol_60")
    penalty = 0.0
