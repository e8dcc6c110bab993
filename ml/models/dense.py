"""Dense: a feed-forward network on the newest row of features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.datasets import Target
from ml.models.graph import Graph
from ml.models.network import Network

UNITS = (32, 16)


class Dense(Network):
    """Two hidden layers of rectified units."""

    name = "dense"

    def __init__(self, target: Target, *, seed: int = 0, epochs: int = 8, networks: int = 1) -> None:
        super().__init__(target, seed=seed, lookback=1, epochs=epochs, networks=networks)

    def _layers(self, keras: Any) -> list[Any]:
        return [keras.layers.Flatten(), *(keras.layers.Dense(units, activation="relu") for units in UNITS)]

    def _export_layers(self, graph: Graph, scaled: str, weights: list[NDArray[np.float32]]) -> str:
        last = graph.add("Flatten", scaled)
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            last = graph.add("Relu", graph.add("Gemm", last, graph.constant(kernel), graph.constant(bias)))
        return last
