"""Explanations: against Shapley values by brute force and gradients of TensorFlow, and complete."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from ml import explain
from ml.arrays import FloatArray
from ml.artifact import LoadedModel
from ml.datasets import FEATURES
from tests.ml_kit import planted, trained

RNG = np.random.default_rng(3)
VOLATILITY = FEATURES.index("log_ewma_vol")
pytestmark = pytest.mark.xdist_group("ml_training")


def loaded(target: str, name: str) -> LoadedModel:
    result = trained(target, 1 if target == "return_5d" else 3)
    return LoadedModel(target, "1", "run", result.candidates[name].onnx)


def windows(model: LoadedModel, count: int) -> np.ndarray:
    from ml.datasets import Panel

    panel = Panel.of(planted("volatility_5d", 0.9))
    return panel.windows(RNG.choice(panel.rows(model.lookback), count, replace=False), model.inputs, model.lookback)


def complete(model: LoadedModel, given: np.ndarray) -> FloatArray:
    """What contributions have to add up to."""
    typical = np.broadcast_to(np.float32(model.contract.typical), given[:1].shape)
    return model.predict(given) - model.predict(np.ascontiguousarray(typical))


@pytest.mark.parametrize("target", ["return_5d", "volatility_5d"])
def test_contributions_by_trees_are_shapley_values(target: str) -> None:
    model = loaded(target, "boosting")
    typical = np.float32(model.contract.typical)
    players = [VOLATILITY, FEATURES.index("rsi_14_centered"), *range(4)]
    row = typical.copy()
    row[players] = windows(model, 1)[0, -1, players]

    def forecast(coalition: tuple[int, ...]) -> float:
        mixed = typical.copy()
        mixed[list(coalition)] = row[list(coalition)]
        mean = model.predict(mixed[None, None])[0]
        return float(mean if target == "return_5d" else np.log(mean))

    slow = np.zeros(len(typical))
    for player in players:
        others = [p for p in players if p != player]
        for size in range(len(players)):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(players))
            for coalition in combinations(others, size):
                slow[player] += weight * (forecast((*coalition, player)) - forecast(coalition))
    if target == "volatility_5d":
        mean, reference = np.exp(forecast(tuple(players))), np.exp(forecast(()))
        slow *= (mean - reference) / np.log(mean / reference)
    assert np.abs(slow).max() > 1e-4
    (found,) = explain.contributions(model, row[None, None])
    np.testing.assert_allclose(found, slow, atol=2e-6 * np.abs(slow).sum() + 1e-8)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("return_5d", "boosting"),
        ("volatility_5d", "boosting"),
        ("volatility_5d", "lstm"),
        ("volatility_5d", "har"),
        ("volatility_5d", "ewma"),
        ("volatility_5d", "combination"),
    ],
)
def test_contributions_add_up_to_what_the_forecast_differs_from_a_typical_one(target: str, name: str) -> None:
    model = loaded(target, name)
    given = windows(model, 40)
    difference = complete(model, given)
    found = explain.contributions(model, given).sum(axis=1)
    np.testing.assert_allclose(found, difference, atol=2e-3 * np.abs(difference).max())


def test_integrated_gradients_are_those_of_tensorflow() -> None:
    import tensorflow as tf

    model = loaded("volatility_5d", "lstm")
    given = windows(model, 3)
    typical = np.float32(model.contract.typical)
    # The same network in TensorFlow, from the weights of the file.
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model.onnx).graph
    constants = {it.name: numpy_helper.to_array(it) for it in graph.initializer}
    (node,) = (n for n in graph.node if n.op_type == "LSTM")
    w, r, b = (constants[name][0] for name in node.input[1:4])
    (gemm,) = (n for n in graph.node if n.op_type == "Gemm")
    dense, dense_bias = (constants[name] for name in gemm.input[1:3])
    mean, std = (constants[next(n for n in graph.node if n.op_type == kind).input[1]] for kind in ("Sub", "Div"))
    factor = model.predict(given[:1])[0]

    def network(x):
        scaled = tf.clip_by_value((x - mean) / std, -8.0, 8.0)
        h = c = tf.zeros((x.shape[0], r.shape[1]))
        for t in range(x.shape[1]):
            z = scaled[:, t] @ w.T + h @ r.T + b[: len(b) // 2] + b[len(b) // 2 :]
            i, o, f, g = tf.split(z, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return tf.exp(x[:, -1, VOLATILITY] + tf.squeeze(h @ dense + dense_bias, 1))

    factor /= float(network(tf.constant(given[:1]))[0])
    slow = np.zeros((len(given), len(typical)))
    for k in range(200):
        at = tf.Variable(typical + np.float32((k + 0.5) / 200) * (given - typical))
        with tf.GradientTape() as tape:
            out = factor * tf.reduce_sum(network(at))
        slow += (tape.gradient(out, at).numpy() * (given - typical)).sum(axis=1) / 200
    found = explain.contributions(model, given)
    np.testing.assert_allclose(found, slow, atol=1e-3 * np.abs(slow).sum(axis=1).max())


def test_the_largest_contributions_are_kept_with_their_sign() -> None:
    row = np.array([0.1, -0.4, 0.0, 0.2, -0.05, 0.3, 0.01])
    kept = explain.largest("abcdefg", row)
    assert [(it["feature"], it["contribution"]) for it in kept] == [
        ("b", -0.4),
        ("f", 0.3),
        ("d", 0.2),
        ("a", 0.1),
        ("e", -0.05),
    ]
    assert explain.largest("ab", np.zeros(2)) == []
