"""The model file: an ONNX graph packed with its contract, and a registered version of it ready to answer."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ml.arrays import FloatArray, RowIndex, Windows
from ml.contract import CONTRACT_KEY, Contract, contract_of, run, session
from ml.datasets import Panel
from ml.intervals import Conformal

if TYPE_CHECKING:
    import onnxruntime


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
        return contract_of(self.session)

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

    def predict(self, windows: Windows) -> FloatArray:
        """Forecasts, float64 [N], of raw windows float32 [N, lookback, len(inputs)]."""
        return run(self.session, windows)

    def forecast(self, panel: Panel, rows: RowIndex) -> FloatArray:
        """Forecasts, float64 [len(rows)], of the windows that end at `rows` of a panel."""
        return self.predict(panel.view(rows, self.inputs, self.lookback))


def volatility_scale(panel: Panel, rows: RowIndex, horizon: int, model: LoadedModel | None) -> FloatArray:
    """Volatility [len(rows)] that scales return intervals: a registered version's forecast, or the naive one."""
    return panel.naive_volatility(rows, horizon) if model is None else model.forecast(panel, rows)
