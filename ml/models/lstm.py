"""LSTM: a recurrent network over the look-back window."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.models.graph import Graph
from ml.models.network import Network

UNITS = 32


class Lstm(Network):
    """One LSTM layer."""

    name = "lstm"

    def _layers(self, keras: Any) -> list[Any]:
        return [keras.layers.LSTM(UNITS)]

    def _export_layers(self, graph: Graph, scaled: str, weights: list[NDArray[np.float32]]) -> str:
        kernel, recurrent, bias = weights  # [inputs, 4 units], [units, 4 units], [4 units]
        sequence = graph.add("Transpose", scaled, perm=[1, 0, 2])
        state = graph.add(
            "LSTM",
            sequence,
            graph.constant(_onnx_gates(kernel).T[None]),
            graph.constant(_onnx_gates(recurrent).T[None]),
            graph.constant(np.r_[_onnx_gates(bias), np.zeros(4 * UNITS, np.float32)][None]),
            outputs=2,
            hidden_size=UNITS,
        )
        return graph.add("Squeeze", state, graph.constant([0], np.int64))


def _onnx_gates(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keras orders the gates input, forget, cell, output along the last axis; ONNX input, output, forget, cell."""
    i, f, c, o = np.split(weights, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)
