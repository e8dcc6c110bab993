"""Combination: one forecast out of several, with weights that were fixed before any data was seen."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray, Windows
from ml.datasets import Target
from ml.models.base import Forecaster, Sample
from ml.models.graph import Graph

BATCH = 4096


class Combination(Forecaster):
    """The geometric mean of its members' volatilities: they err in different ways, and on the logarithm, evenly.

    `members` are fitted by whoever fits the combination, before it. The graph holds all of theirs.

    References
    ----------
    Timmermann (2006), Forecast combinations: equal weights are hard to beat by estimated ones.
    """

    name = "combination"
    learned = True

    def __init__(self, target: Target, members: Sequence[Forecaster], *, seed: int = 0) -> None:
        super().__init__(target, seed=seed)
        self.members = tuple(members)
        self.inputs = tuple(dict.fromkeys(name for member in members for name in member.inputs))
        self.lookback = max(member.lookback for member in members)

    def fit(self, train: Sample, validation: Sample) -> Self:
        """There is nothing left to learn."""
        return self

    def predict(self, windows: Windows) -> FloatArray:
        """Geometric mean of the members' forecasts."""
        parts = [self._predict(windows[i : i + BATCH]) for i in range(0, len(windows), BATCH)]
        return np.concatenate(parts) if parts else np.empty(0)

    def export(self) -> bytes:
        """The members' graphs side by side, each on its part of the window."""
        import onnx

        graph = Graph(self.lookback, len(self.inputs))
        logs = []
        for member in self.members:
            steps = graph.constant(np.arange(self.lookback - member.lookback, self.lookback), np.int64)
            columns = graph.constant(self._columns(member), np.int64)
            part = graph.add("Gather", graph.add("Gather", "window", steps, axis=1), columns, axis=2)
            logs.append(graph.add("Log", graph.splice(onnx.load_from_string(member.export()), part)))
        return graph.build(graph.add("Exp", graph.add("Mean", *logs)))

    def _predict(self, windows: NDArray[np.float32]) -> FloatArray:
        return combine([m.predict(windows[:, -m.lookback :, self._columns(m)]) for m in self.members])

    def _columns(self, member: Forecaster) -> list[int]:
        return [self.inputs.index(name) for name in member.inputs]


def combine(forecasts: Sequence[FloatArray]) -> FloatArray:
    """Geometric mean of the forecasts [N] of several models."""
    return np.asarray(np.exp(np.mean(np.log(forecasts), axis=0)))
