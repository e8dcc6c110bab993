"""Explain: how much each feature moves a forecast away from that of a typical window, from the model's ONNX file alone.

Contributions are in the unit of the forecast and add up to it minus the forecast of the typical window (completeness).
Smooth models get integrated gradients, trees exact Shapley values, a combination of both sampled ones. None needs what
trained the model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.artifact import LoadedModel
from ml.datasets import TARGETS

Rows = NDArray[np.float32]

TREES = ("boosting", "random_forest")
CONSTANT = ("zero", "historical_mean")
MOST = 5
"""Contributions that are kept of a forecast."""

POINTS = 8
"""Points of the path at which gradients are taken (Gauss-Legendre): enough for 0.1 % of the forecast."""
ORDERS = 8
"""Orders of the features that Shapley values are sampled over: half of them drawn, half of them the reverse."""
STEP = 0.02
"""Half-width of a central difference, as a share of the path: float32 leaves less exact ones to rounding."""


def contributions(model: LoadedModel, windows: Rows) -> FloatArray:
    """Contributions [N, inputs] of each feature, all sessions together, to the forecasts of windows [N, L, inputs]."""
    name, typical = model.contract.model, np.asarray(model.contract.typical, np.float32)
    if name in CONSTANT:
        return np.zeros((len(windows), len(typical)))
    if name == "combination":
        return sampled_shapley(model, windows, typical)
    if name in TREES:
        return tree_contributions(model, windows[:, -1], typical)
    return integrated_gradients(model, windows, typical)


def largest(names: Sequence[str], row: FloatArray) -> list[dict[str, object]]:
    """The largest contributions of a forecast, signed, the largest first; none where nothing contributes."""
    order = np.argsort(-np.abs(row), kind="stable")[:MOST]
    return [{"feature": names[i], "contribution": float(row[i])} for i in order if row[i]]


def importance(model: LoadedModel, windows: Rows) -> dict[str, float]:
    """Mean absolute contribution of each feature over windows, the largest first."""
    mean = np.abs(contributions(model, windows)).mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    return {model.inputs[i]: float(mean[i]) for i in order}


def integrated_gradients(model: LoadedModel, windows: Rows, typical: Rows) -> FloatArray:
    """Integrated gradients [N, inputs], along the straight path from the typical window, summed over sessions.

    The graph is asked for central differences along each feature, so any smooth graph will do.

    References
    ----------
    Sundararajan, Taly, Yan (2017), Axiomatic attribution for deep networks.
    """
    count, _, inputs = windows.shape
    way = windows.astype(np.float64) - typical
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    total = np.zeros((count, inputs))
    for position, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        for feature in range(inputs):
            ends = []
            for sign in (1, -1):
                at = typical + position * way
                at[:, :, feature] += sign * STEP * way[:, :, feature]
                ends.append(model.predict(at.astype(np.float32)))
            total[:, feature] += weight * (ends[0] - ends[1]) / (2 * STEP)
    return total


def sampled_shapley(model: LoadedModel, windows: Rows, typical: Rows) -> FloatArray:
    """Shapley values [N, inputs] of any graph, sampled over a few orders in which features take their own values.

    Each order adds up exactly; a reversed one beside it takes out much of the noise.

    References
    ----------
    Mitchell, Cooper, Frank, Holmes (2022), Sampling permutations for Shapley value estimation.
    """
    inputs = len(typical)
    drawn = [np.random.default_rng(seed).permutation(inputs) for seed in range(ORDERS // 2)]
    total = np.zeros((len(windows), inputs))
    for order in (*drawn, *(order[::-1] for order in drawn)):
        at = np.broadcast_to(typical, windows.shape).copy()
        before = model.predict(at)
        for feature in order:
            at[:, :, feature] = windows[:, :, feature]
            after = model.predict(at)
            total[:, feature] += (after - before) / ORDERS
            before = after
    return total


def tree_contributions(model: LoadedModel, rows: Rows, typical: Rows) -> FloatArray:
    """Exact Shapley values [N, inputs] of a forecast by trees of rows [N, inputs], against one typical row.

    The trees give a dimensionless u; with s, the EWMA volatility over the horizon, the forecast is s * u for a return,
    and its values are exact. For a volatility it is b * s * exp(u): there the values are those of its logarithm, scaled
    to the unit of the forecast.

    References
    ----------
    Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees
    (interventional values, with one row as the background).
    """
    target, volatility = TARGETS[model.contract.target], model.inputs.index("log_ewma_vol")
    base, leaves = _leaves(model.onnx)
    if target.kind == "return":
        own, typical_scale = np.exp(rows[:, volatility].astype(np.float64)), math.exp(float(typical[volatility]))
        values = typical_scale * _shapley(leaves, rows, typical)
        change = (own - typical_scale)[:, None]
        values += change * _shapley(leaves, rows, typical, gate=volatility)
        values[:, volatility] += change[:, 0] * base
        return values * math.sqrt(target.horizon)
    values = _shapley(leaves, rows, typical)
    values[:, volatility] += rows[:, volatility].astype(np.float64) - float(typical[volatility])
    ends = model.predict(np.stack([*rows, typical])[:, None])
    mean, reference = ends[:-1], ends[-1]
    logarithm = np.log(mean / reference)
    return values * np.divide(mean - reference, logarithm, out=mean.copy(), where=logarithm != 0)[:, None]


@dataclass(frozen=True)
class _Leaf:
    """A leaf and, by feature, the half-open range (low, high] of the values that lead to it."""

    value: float
    ranges: dict[int, tuple[float, float]]


def _shapley(leaves: Sequence[_Leaf], rows: Rows, typical: Rows, gate: int | None = None) -> FloatArray:
    """Shapley values [N, inputs] of the sum of trees; with a gate, of that sum while the gate is in, and else of 0.

    A leaf is reached by a coalition where all features that only the row satisfies (A) are in it, and none that only
    the typical row does (B). Its value is shared with the weights of that game: (a-1)! b! / (a+b)! to each of A, and
    -a! (b-1)! / (a+b)! to each of B.
    """
    values = np.zeros(rows.shape)
    for leaf in leaves:
        ranges = leaf.ranges if gate is None else {gate: (-math.inf, math.inf), **leaf.ranges}
        features = list(ranges)
        low, high = np.array(list(ranges.values())).reshape(-1, 2).T
        own, other = ((x[..., features] > low) & (x[..., features] <= high) for x in (rows, typical))
        if gate is not None:
            other[features.index(gate)] = False
        only_own, only_other = own & ~other, ~own & other
        a, b = only_own.sum(axis=1), only_other.sum(axis=1)
        reached = (own | other).all(axis=1)
        plus, minus = (np.where(reached, leaf.value * weight[a, b], 0.0) for weight in _WEIGHTS)
        values[:, features] += only_own * plus[:, None] - only_other * minus[:, None]
    return values


def _weights(most: int = 40) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of each of A, and of each of B, by the sizes of A and B."""
    plus, minus = np.zeros((2, most, most))
    for a in range(most):
        for b in range(most - a):
            whole = math.factorial(a + b)
            plus[a, b] = math.factorial(a - 1) * math.factorial(b) / whole if a else 0.0
            minus[a, b] = math.factorial(a) * math.factorial(b - 1) / whole if b else 0.0
    return plus, minus


_WEIGHTS = _weights()


def _leaves(onnx: bytes) -> tuple[float, list[_Leaf]]:
    """Base value and leaves of the one ensemble of trees in a graph."""
    import onnx as library

    (node,) = (node for node in library.load_from_string(onnx).graph.node if node.op_type == "TreeEnsembleRegressor")
    said: dict[str, Any] = {it.name: library.helper.get_attribute_value(it) for it in node.attribute}

    def numbers(name: str) -> Any:
        tensor = said.get(f"{name}_as_tensor")
        return said.get(name, []) if tensor is None else library.numpy_helper.to_array(tensor)

    trees = np.asarray(said["nodes_treeids"])
    keys = list(zip(trees.tolist(), said["nodes_nodeids"], strict=True))
    branches = {
        key: (mode, feature, float(threshold), (key[0], left), (key[0], right))
        for key, mode, feature, threshold, left, right in zip(
            keys,
            said["nodes_modes"],
            said["nodes_featureids"],
            numbers("nodes_values"),
            said["nodes_truenodeids"],
            said["nodes_falsenodeids"],
            strict=True,
        )
    }
    targets = zip(said["target_treeids"], said["target_nodeids"], numbers("target_weights"), strict=True)
    values = {(tree, number): float(value) for tree, number, value in targets}

    def below(key: tuple[int, int], ranges: dict[int, tuple[float, float]]) -> Iterator[_Leaf]:
        mode, feature, threshold, left, right = branches[key]
        if mode == b"LEAF":
            yield _Leaf(values[key], ranges)
            return
        assert mode == b"BRANCH_LEQ", mode
        low, high = ranges.get(feature, (-math.inf, math.inf))
        yield from below(left, {**ranges, feature: (low, min(high, threshold))})
        yield from below(right, {**ranges, feature: (max(low, threshold), high)})

    roots = [keys[i] for i in np.flatnonzero(np.r_[True, trees[1:] != trees[:-1]])]
    base = float(np.sum(numbers("base_values"))) if len(numbers("base_values")) else 0.0
    return base, [leaf for root in roots for leaf in below(root, {})]
