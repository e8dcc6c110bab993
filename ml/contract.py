"""What a model file says of itself, and the ONNX Runtime session that answers from it: all that serving needs.

Imports neither pandas nor anything that trains, so that the API process stays small.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray, Windows
from ml.intervals import Conformal

if TYPE_CHECKING:
    import onnxruntime

CONTRACT_KEY = "contract"

NAIVE_VOLATILITY = "ewma_vol"
"""Daily EWMA volatility: what the naive volatility forecast scales to the horizon."""

VOLATILITY_FLOOR = 1e-4
"""Smallest realised volatility of a label: a price that stood still has no logarithm."""
BATCH = 8192
"""Windows that are cut and looked at together, to bound the memory."""


@dataclass(frozen=True)
class Golden:
    """A window [lookback, inputs] and the mean that the graph gave for it when it was made."""

    window: tuple[tuple[float, ...], ...]
    mean: float


@dataclass(frozen=True)
class Contract:
    """What a caller must know to use a graph: what it forecasts, from which columns, over how many sessions.

    Attributes
    ----------
    ranges : smallest and largest value of each input in the windows that it was trained on.
    typical : mean of each input over the newest sessions of these windows: explanations compare with it.
    golden : a question whose answer is known, to ask whenever the graph is loaded.
    """

    target: str
    model: str
    inputs: tuple[str, ...]
    lookback: int
    seed: int
    conformal: Conformal
    ranges: Mapping[str, tuple[float, float]]
    typical: tuple[float, ...]
    golden: Golden

    def to_json(self) -> str:
        """Stable JSON: equal contracts give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Inverse of `to_json`."""
        raw = json.loads(text)
        return cls(
            target=raw["target"],
            model=raw["model"],
            inputs=tuple(raw["inputs"]),
            lookback=raw["lookback"],
            seed=raw["seed"],
            conformal=Conformal.from_dict(raw["conformal"]),
            ranges={name: (low, high) for name, (low, high) in raw["ranges"].items()},
            typical=tuple(raw["typical"]),
            golden=Golden(tuple(tuple(row) for row in raw["golden"]["window"]), raw["golden"]["mean"]),
        )


def ranges(windows: Windows, inputs: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each input in windows [N, lookback, inputs]."""
    parts = [windows[i : i + BATCH] for i in range(0, len(windows), BATCH)]
    low = np.min([part.min(axis=(0, 1)) for part in parts], axis=0).tolist()
    high = np.max([part.max(axis=(0, 1)) for part in parts], axis=0).tolist()
    return {name: (low[i], high[i]) for i, name in enumerate(inputs)}


def golden(graph: bytes, window: NDArray[np.float32]) -> Golden:
    """What a graph answers to one window [lookback, inputs]."""
    mean = run(session(graph), window[None])[0]
    return Golden(tuple(map(tuple, window.tolist())), float(mean))


def naive_volatility(daily: FloatArray, horizon: int) -> FloatArray:
    """Daily EWMA volatilities [N], scaled to `horizon` sessions by the square root of time."""
    return np.maximum(daily.astype(np.float64) * math.sqrt(horizon), VOLATILITY_FLOOR)


def digest(onnx: bytes, lake_versions: Mapping[str, int]) -> str:
    """Identity of a version: graph and contract (the file), and the versions of the tables it was trained on."""
    versions = json.dumps(dict(lake_versions), sort_keys=True).encode()
    return hashlib.sha256(onnx + b"\0" + versions).hexdigest()


def session(graph: bytes, threads: int = 0) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session on the CPU, with so many threads (0: one a core)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def contract_of(session: "onnxruntime.InferenceSession") -> Contract:
    """The contract that a graph carries. Raises ValueError where it carries none."""
    properties = session.get_modelmeta().custom_metadata_map
    if CONTRACT_KEY not in properties:
        raise ValueError("the ONNX metadata carries no contract")
    return Contract.from_json(properties[CONTRACT_KEY])


def run(session: "onnxruntime.InferenceSession", windows: Windows) -> FloatArray:
    """Outputs `mean` as float64 [N] of windows [N, L, F], in batches to bound the memory."""
    parts: Sequence[FloatArray] = [
        session.run(["mean"], {"window": windows[i : i + BATCH]})[0].reshape(-1) for i in range(0, len(windows), BATCH)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)
