"""Graph: a few lines over onnx.helper with which every forecaster writes its whole computation as one ONNX model."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

OPSET = 18
ML_OPSET = 3
IR_VERSION = 10
"""Format versions: conservative, so that older ONNX Runtimes serve the file too."""

FLOAT, DOUBLE = 1, 11
"""`TensorProto.DataType` of float32 and float64."""


class Graph:
    """A graph from `window` float32 [N, lookback, inputs] (raw features) to `mean` float32 [N, 1]."""

    def __init__(self, lookback: int, inputs: int) -> None:
        self._lookback, self._inputs = lookback, inputs
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Name of a constant tensor."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add an operator; the name of its last output."""
        from onnx import helper

        names = [f"{kind.lower()}_{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[-1]

    def splice(self, model: Any, source: str) -> str:
        """Continue from `source` through a one-input, one-output ONNX model; the name of its output."""
        from onnx import compose

        prefix = f"part_{len(self._nodes)}_"
        inner = compose.add_prefix(model, prefix).graph
        self._nodes.append(_identity(source, inner.input[0].name))
        self._nodes.extend(inner.node)
        self._constants.extend(inner.initializer)
        return str(inner.output[0].name)

    def regressor(self, fitted: Any) -> str:
        """The forecast [N, 1] of a fitted scikit-learn regressor from the inputs of the newest session.

        In float64: scikit-learn splits at float64 thresholds, and rounded a few rows would fall on the other side.
        """
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType

        model = to_onnx(
            fitted,
            initial_types=[("X", DoubleTensorType([None, self._inputs]))],
            target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        )
        return self.add("Cast", self.splice(model, self.add("Cast", self.last_step(), to=DOUBLE)), to=FLOAT)

    def last_step(self, column: int | None = None) -> str:
        """Inputs of the newest session [N, inputs], or one of them [N, 1]."""
        step = self.add("Gather", "window", self.constant(self._lookback - 1, np.int64), axis=1)
        if column is None:
            return step
        return self.add("Gather", step, self.constant([column], np.int64), axis=1)

    def build(self, output: str) -> bytes:
        """The serialised model whose output `mean` is the tensor `output` [N, 1]."""
        from onnx import TensorProto, checker, helper

        graph = helper.make_graph(
            [*self._nodes, _identity(output, "mean")],
            "forecast",
            [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", self._lookback, self._inputs])],
            [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["N", 1])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="asset-lakehouse")
        checker.check_model(model)
        return model.SerializeToString(deterministic=True)


def _identity(source: str, target: str) -> Any:
    from onnx import helper

    return helper.make_node("Identity", [source], [target])
