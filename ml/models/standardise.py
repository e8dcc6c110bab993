"""Standardise: inputs on one scale, in Python and in the exported graph, for models that are sensitive to it."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ml.models.graph import Graph

CLIP = 8.0
"""Standardised inputs are clipped here: a bad tick must not drive a model out of the range it was trained in."""


class Standardise(NamedTuple):
    """Mean and standard deviation of each input [inputs]."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> Self:
        """Those of `rows` [N, inputs]."""
        exact = rows.astype(np.float64)
        return cls(exact.mean(axis=0).astype(np.float32), np.maximum(exact.std(axis=0), 1e-6).astype(np.float32))

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised copy of inputs [..., inputs]."""
        scaled = inputs - self.mean
        scaled /= self.std
        return np.clip(scaled, -CLIP, CLIP, out=scaled)

    def export(self, graph: Graph, source: str) -> str:
        """The same in the graph; the name of the standardised tensor."""
        centred = graph.add("Sub", source, graph.constant(self.mean))
        scaled = graph.add("Div", centred, graph.constant(self.std))
        return graph.add("Clip", scaled, graph.constant(-CLIP), graph.constant(CLIP))
