"""Baselines: what a forecast must beat to be worth its cost. They are exported and registered like any other model."""

import math
from typing import Self

import numpy as np

from ml.arrays import FloatArray, Windows
from ml.contract import NAIVE_VOLATILITY, VOLATILITY_FLOOR
from ml.models.base import Forecaster, Sample
from ml.models.graph import Graph


class HistoricalMean(Forecaster):
    """Every return is the mean return of the training period."""

    name = "historical_mean"
    learned = False
    inputs = ("log_return_1",)
    lookback = 1
    mean = 0.0

    def fit(self, train: Sample, validation: Sample) -> Self:
        """Take the mean outcome of the training period."""
        self.mean = float(np.mean(train.outcome))
        return self

    def predict(self, windows: Windows) -> FloatArray:
        """The same number for every window."""
        return np.full(len(windows), self.mean)

    def export(self) -> bytes:
        """A constant of the batch size."""
        graph = Graph(self.lookback, len(self.inputs))
        shape = graph.add("Shape", graph.last_step())
        return graph.build(graph.add("Expand", graph.constant([[self.mean]]), shape))


class Zero(HistoricalMean):
    """Every return is zero: the price stays where it is."""

    name = "zero"

    def fit(self, train: Sample, validation: Sample) -> Self:
        """There is nothing to learn."""
        return self


class LastValue(Forecaster):
    """The next return is the one just seen: a drunkard's trend."""

    name = "last_value"
    learned = False
    inputs = ("log_return_5",)
    lookback = 1

    def fit(self, train: Sample, validation: Sample) -> Self:
        """There is nothing to learn."""
        return self

    def predict(self, windows: Windows) -> FloatArray:
        """Return over the last five sessions."""
        return windows[:, -1, 0].astype(np.float64)

    def export(self) -> bytes:
        """The input as it is."""
        graph = Graph(self.lookback, len(self.inputs))
        return graph.build(graph.last_step(0))


class EwmaVolatility(Forecaster):
    """The exponentially weighted volatility of RiskMetrics, scaled to the horizon by the square root of time."""

    name = "ewma"
    learned = False
    inputs = (NAIVE_VOLATILITY,)
    lookback = 1

    def fit(self, train: Sample, validation: Sample) -> Self:
        """There is nothing to learn."""
        return self

    def predict(self, windows: Windows) -> FloatArray:
        """Daily EWMA volatility of the newest session times sqrt(horizon)."""
        daily = windows[:, -1, 0].astype(np.float64)
        return np.maximum(daily * math.sqrt(self.target.horizon), VOLATILITY_FLOOR)

    def export(self) -> bytes:
        """One multiplication and a floor."""
        graph = Graph(self.lookback, len(self.inputs))
        scaled = graph.add("Mul", graph.last_step(0), graph.constant(math.sqrt(self.target.horizon)))
        return graph.build(graph.add("Max", scaled, graph.constant([[VOLATILITY_FLOOR]])))
