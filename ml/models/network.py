"""Network: what all Keras forecasters share; trained with TensorFlow on windows cut batch by batch, served without."""

import math
import os
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray, Windows
from ml.datasets import Target
from ml.models.base import Sample, ScaledForecaster
from ml.models.graph import Graph
from ml.models.standardise import Standardise

if TYPE_CHECKING:
    import keras

BATCH = 512
PREDICT_BATCH = 4096


class Network(ScaledForecaster):
    """Standardised inputs, hidden layers, one linear output; early stopping on validation.

    Several `networks` that differ in their seed alone are averaged: the luck of a seed is most of what tells one
    training from the next. Standardisation is outside the networks, so that windows stay raw for every caller. Two
    trainings on the same data give the same weights, bit for bit.
    """

    _standardise: Standardise
    _networks: "list[keras.Model]"

    def __init__(
        self, target: Target, *, seed: int = 0, lookback: int = 20, epochs: int = 8, networks: int = 1
    ) -> None:
        super().__init__(target, seed=seed)
        self.lookback, self.epochs, self.networks = lookback, epochs, networks

    @abstractmethod
    def _layers(self, keras: Any) -> list[Any]:
        """Hidden layers over standardised windows [N, lookback, inputs]."""

    @abstractmethod
    def _export_layers(self, graph: Graph, scaled: str, weights: list[NDArray[np.float32]]) -> str:
        """The same in the graph, with the weights of one network; the name of the last hidden tensor [N, units]."""

    def _fit(self, train: Sample, validation: Sample) -> None:
        self._standardise = Standardise.of(train.windows[:, -1])
        self._networks, self.curve = [], []
        for seed in range(self.seed, self.seed + self.networks):
            keras = _import_keras(seed)
            network = keras.Sequential(
                [
                    keras.Input((self.lookback, len(self.inputs))),
                    *self._layers(keras),
                    keras.layers.Dense(1, kernel_initializer="zeros"),
                ]
            )
            network.compile(keras.optimizers.Adam(1e-3), loss="mse", jit_compile=False)
            history = network.fit(
                _batches(train, self._standardise, seed),
                validation_data=_batches(validation, self._standardise),
                epochs=self.epochs,
                callbacks=[keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)],
                shuffle=False,
                verbose=0,
            ).history
            losses = zip(history["loss"], history["val_loss"], strict=True)
            self.curve = self.curve or [{"train": float(t), "validation": float(v)} for t, v in losses]
            self._networks.append(network)

    def _predict(self, windows: Windows) -> FloatArray:
        parts = [
            np.mean([network(batch, training=False) for network in self._networks], axis=0)
            for i in range(0, len(windows), PREDICT_BATCH)
            for batch in [self._standardise(windows[i : i + PREDICT_BATCH])]
        ]
        return np.concatenate(parts).reshape(-1) if parts else np.empty(0)

    @property
    def weights(self) -> list[NDArray[np.float32]]:
        """Weights of all networks, one after the other, each in the order of its layers."""
        return [np.asarray(w) for network in self._networks for w in network.get_weights()]

    def _export(self, graph: Graph) -> str:
        scaled = self._standardise.export(graph, "window")
        outputs = []
        for network in self._networks:
            *hidden, dense, bias = network.get_weights()
            last = self._export_layers(graph, scaled, hidden)
            outputs.append(graph.add("Gemm", last, graph.constant(dense), graph.constant(bias)))
        return graph.add("Mean", *outputs)


def _batches(sample: Sample, standardise: Standardise, seed: int | None = None) -> Any:
    """A Keras data set that cuts each batch of windows when it is its turn; in another order each epoch with a seed."""
    from keras.utils import PyDataset

    class Batches(PyDataset):
        def __init__(self) -> None:
            super().__init__()
            self._random = np.random.default_rng(seed)
            self._outcome = sample.outcome.astype(np.float32)
            self.on_epoch_begin()

        def __len__(self) -> int:
            return math.ceil(len(sample.outcome) / BATCH)

        def __getitem__(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            rows = self._order[i * BATCH : (i + 1) * BATCH]
            return standardise(sample.windows[rows]), self._outcome[rows]

        def on_epoch_begin(self) -> None:
            n = len(sample.outcome)
            self._order = np.arange(n) if seed is None else self._random.permutation(n)

    return Batches()


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
