"""GARCH: the stored volatility of a GJR-GARCH as a forecast, so that the served graph only reads it."""

import math
from typing import Self

import numpy as np

from ml.arrays import FloatArray, Windows
from ml.datasets import GARCH_VOLATILITY
from ml.models.base import Forecaster, Sample
from ml.models.graph import Graph


class Garch(Forecaster):
    """The column `garch_vol` ([ml.garch][]) scaled to the horizon by the square root of time."""

    name = "garch"
    learned = True
    inputs = (GARCH_VOLATILITY,)
    lookback = 1

    def fit(self, train: Sample, validation: Sample) -> Self:
        """There is nothing left to learn: the column was estimated on the past of each year."""
        return self

    def predict(self, windows: Windows) -> FloatArray:
        """Daily volatility over the horizon times sqrt(horizon)."""
        return np.asarray(windows[:, -1, 0].astype(np.float64) * math.sqrt(self.target.horizon))

    def export(self) -> bytes:
        """One multiplication."""
        graph = Graph(self.lookback, len(self.inputs))
        return graph.build(graph.add("Mul", graph.last_step(0), graph.constant(math.sqrt(self.target.horizon))))
