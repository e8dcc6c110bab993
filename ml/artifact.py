"""The model file: an ONNX graph that carries its own contract, and the ONNX Runtime session that answers from it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.datasets import FloatArray, Panel, RowIndex
from ml.intervals import Conformal

if TYPE_CHECKING:
    import onnxruntime

CONTRACT_KEY = "contract"


@dataclass(frozen=True)
class Contract:
    """What a caller must know to use a graph: what it forecasts, from which columns, over how many sessions."""

    target: str
    model: str
    inputs: tuple[str, ...]
    lookback: int
    seed: int
    conformal: Conformal

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
        )


def pack(graph: bytes, contract: Contract) -> bytes:
    """The graph with the contract in its metadata."""
    import onnx

    model = onnx.load_from_string(graph)
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json()})
    return model.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class LoadedModel:
    """A registered version, ready to answer. Needs ONNX Runtime and nothing that trained it."""

    name: str
    version: str
    run_id: str
    onnx: bytes = field(repr=False)

    @cached_property
    def session(self) -> "onnxruntime.InferenceSession":
        """ONNX Runtime session on the CPU."""
        return session(self.onnx)

    @cached_property
    def contract(self) -> Contract:
        """What the graph was trained to do. Raises ValueError for a file that carries no contract."""
        properties = self.session.get_modelmeta().custom_metadata_map
        if CONTRACT_KEY not in properties:
            raise ValueError(f"{self.name} version {self.version} carries no contract in its ONNX metadata")
        return Contract.from_json(properties[CONTRACT_KEY])

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns of `market/features`, in the order of the input tensor."""
        return self.contract.inputs

    @property
    def lookback(self) -> int:
        """Sessions a window spans."""
        return self.contract.lookback

    @property
    def conformal(self) -> Conformal:
        """State of the forecast intervals."""
        return self.contract.conformal

    def predict(self, windows: NDArray[np.float32]) -> FloatArray:
        """Forecasts, float64 [N], of raw windows float32 [N, lookback, len(inputs)]."""
        return run(self.session, windows)

    def forecast(self, panel: Panel, rows: RowIndex) -> FloatArray:
        """Forecasts, float64 [len(rows)], of the windows that end at `rows` of a panel."""
        return self.predict(panel.windows(rows, self.inputs, self.lookback))


def volatility_scale(panel: Panel, rows: RowIndex, horizon: int, model: LoadedModel | None) -> FloatArray:
    """Volatility [len(rows)] that scales return intervals: a registered version's forecast, or the naive one."""
    return panel.naive_volatility(rows, horizon) if model is None else model.forecast(panel, rows)


def session(graph: bytes) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def run(session: "onnxruntime.InferenceSession", windows: NDArray[np.float32], batch: int = 8192) -> FloatArray:
    """Outputs `mean` as float64 [N] of windows [N, L, F], in batches to bound the memory."""
    parts: Sequence[FloatArray] = [
        session.run(["mean"], {"window": windows[i : i + batch]})[0].reshape(-1) for i in range(0, len(windows), batch)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)
