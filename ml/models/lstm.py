"""LSTM: a Keras recurrent network over the look-back window; trained with TensorFlow, served without it."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray, Windows
from ml.datasets import Target
from ml.models.base import Sample, ScaledForecaster
from ml.models.graph import Graph

if TYPE_CHECKING:
    import keras

UNITS = 32
BATCH = 512
PREDICT_BATCH = 4096
CLIP = 8.0
"""Standardised inputs are clipped here: a bad tick must not drive the state out of the range it was trained in."""


class Lstm(ScaledForecaster):
    """Standardised window, one LSTM layer, one linear output; early stopping on validation.

    Standardisation is outside the network (in `_standardise` and in the exported graph), so that windows stay raw
    for every caller. Two trainings on the same data give the same weights, bit for bit.
    """

    name = "lstm"
    _mean: NDArray[np.float32]
    _std: NDArray[np.float32]
    _network: "keras.Model"

    def __init__(self, target: Target, *, seed: int = 0, lookback: int = 20, epochs: int = 8) -> None:
        super().__init__(target, seed=seed)
        self.lookback, self.epochs = lookback, epochs

    def _fit(self, train: Sample, validation: Sample) -> None:
        keras = _import_keras(self.seed)
        newest = train.windows[:, -1].astype(np.float64)
        self._mean = newest.mean(axis=0).astype(np.float32)
        self._std = np.maximum(newest.std(axis=0), 1e-6).astype(np.float32)
        self._network = keras.Sequential(
            [
                keras.Input((self.lookback, len(self.inputs))),
                keras.layers.LSTM(UNITS),
                keras.layers.Dense(1, kernel_initializer="zeros"),
            ]
        )
        self._network.compile(keras.optimizers.Adam(1e-3), loss="mse", jit_compile=False)
        history = self._network.fit(
            self._standardise(train.windows),
            train.outcome.astype(np.float32),
            validation_data=(self._standardise(validation.windows), validation.outcome.astype(np.float32)),
            batch_size=BATCH,
            epochs=self.epochs,
            callbacks=[keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)],
            verbose=0,
        ).history
        losses = zip(history["loss"], history["val_loss"], strict=True)
        self.curve = [{"train": float(t), "validation": float(v)} for t, v in losses]

    def _predict(self, windows: Windows) -> FloatArray:
        scaled = self._standardise(windows)
        return np.asarray(self._network.predict(scaled, batch_size=PREDICT_BATCH, verbose=0)).reshape(-1)

    @property
    def weights(self) -> list[NDArray[np.float32]]:
        """Kernel [F, 4U], recurrent kernel [U, 4U], bias [4U], dense kernel [U, 1], dense bias [1]."""
        return [np.asarray(w) for w in self._network.get_weights()]

    def _export(self, graph: Graph) -> str:
        kernel, recurrent, bias, dense, dense_bias = self.weights
        centred = graph.add("Sub", "window", graph.constant(self._mean))
        scaled = graph.add("Div", centred, graph.constant(self._std))
        clipped = graph.add("Clip", scaled, graph.constant(-CLIP), graph.constant(CLIP))
        sequence = graph.add("Transpose", clipped, perm=[1, 0, 2])
        state = graph.add(
            "LSTM",
            sequence,
            graph.constant(_onnx_gates(kernel).T[None]),
            graph.constant(_onnx_gates(recurrent).T[None]),
            graph.constant(np.r_[_onnx_gates(bias), np.zeros(4 * UNITS, np.float32)][None]),
            outputs=2,
            hidden_size=UNITS,
        )
        hidden = graph.add("Squeeze", state, graph.constant([0], np.int64))
        return graph.add("Gemm", hidden, graph.constant(dense), graph.constant(dense_bias))

    def _standardise(self, windows: Windows) -> Windows:
        scaled = windows - self._mean
        scaled /= self._std
        return np.clip(scaled, -CLIP, CLIP, out=scaled)


def _onnx_gates(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keras orders the gates input, forget, cell, output along the last axis; ONNX input, output, forget, cell."""
    i, f, c, o = np.split(weights, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)


def _import_keras(seed: int) -> Any:
    """Keras on TensorFlow, quiet, seeded and deterministic."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    return keras
