"""Base: the one interface of a forecaster, and the scaling that learned forecasters of any kind share."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

import numpy as np

from ml.arrays import FloatArray, Windows
from ml.datasets import FEATURES, Target
from ml.models.graph import Graph


class Sample(NamedTuple):
    """Windows [N, lookback, inputs] of raw features, and their outcomes [N] in the unit of the target."""

    windows: Windows
    outcome: FloatArray


class Forecaster(ABC):
    """Learns from windows of raw features, answers with means in the unit of the target, and leaves as ONNX.

    A row model has `lookback` 1. `inputs` names the columns of the windows, in order.
    """

    name: ClassVar[str]
    learned: ClassVar[bool]
    inputs: tuple[str, ...]
    lookback: int

    def __init__(self, target: Target, *, seed: int = 0) -> None:
        self.target, self.seed = target, seed
        self.curve: list[dict[str, float]] = []
        """Learning curve: per epoch or iteration `train` and `validation` loss; empty where nothing is iterated."""

    @abstractmethod
    def fit(self, train: Sample, validation: Sample) -> Self:
        """Learn from `train`; `validation` (later in time) may stop and calibrate, never teach."""

    @abstractmethod
    def predict(self, windows: Windows) -> FloatArray:
        """Forecasts, float64 [N]."""

    @abstractmethod
    def export(self) -> bytes:
        """ONNX with input `window` float32 [N, lookback, inputs] (raw) and output `mean` float32 [N, 1]."""


class ScaledForecaster(Forecaster):
    """Learns a dimensionless outcome, so that calm and wild symbols teach the same thing.

    With s = EWMA volatility over the horizon, a return y is learned as u = y / s and forecast as s * u; a volatility is
    learned as u = log(y / s) and forecast as b * s * exp(u). The factor b makes the forecast unbiased for the variance
    on the data it was fitted with, which minimises QLIKE (exp of a mean logarithm is too low).
    """

    learned = True
    inputs: tuple[str, ...] = FEATURES
    _bias = 1.0

    @abstractmethod
    def _fit(self, train: Sample, validation: Sample) -> None:
        """Learn dimensionless outcomes."""

    @abstractmethod
    def _predict(self, windows: Windows) -> FloatArray:
        """Dimensionless forecasts [N]."""

    @abstractmethod
    def _export(self, graph: Graph) -> str:
        """Write the dimensionless forecast [N, 1] into the graph; the name of its tensor."""

    def fit(self, train: Sample, validation: Sample) -> Self:
        """Learn, then correct the bias of a volatility."""
        self._fit(self._encode(train), self._encode(validation))
        if self.target.kind == "volatility":
            ratios = [sample.outcome / self.predict(sample.windows) for sample in (train, validation)]
            self._bias = float(np.sqrt(np.mean(np.concatenate(ratios) ** 2)))
        return self

    def predict(self, windows: Windows) -> FloatArray:
        """Forecasts, float64 [N], in the unit of the target."""
        scale, raw = self._scale(windows), self._predict(windows).astype(np.float64)
        return scale * raw if self.target.kind == "return" else self._bias * scale * np.exp(raw)

    def export(self) -> bytes:
        """The whole computation, from raw features to the unit of the target, as ONNX."""
        graph = Graph(self.lookback, len(self.inputs))
        raw = self._export(graph)
        scale = graph.add("Exp", graph.last_step(self.inputs.index("log_ewma_vol")))
        if self.target.kind == "volatility":
            raw = graph.add("Exp", raw)
        factor = graph.constant(self._bias * math.sqrt(self.target.horizon))
        return graph.build(graph.add("Mul", graph.add("Mul", scale, factor), raw))

    def _scale(self, windows: Windows) -> FloatArray:
        log_daily = windows[:, -1, self.inputs.index("log_ewma_vol")].astype(np.float64)
        return np.exp(log_daily) * math.sqrt(self.target.horizon)

    def _encode(self, sample: Sample) -> Sample:
        ratio = sample.outcome / self._scale(sample.windows)
        return Sample(sample.windows, ratio if self.target.kind == "return" else np.log(ratio))
