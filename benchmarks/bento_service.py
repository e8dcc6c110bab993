"""The peer of `POST /v1/predict` in BentoML: the model file that `ONNX_FILE` names, answered by ONNX Runtime."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Forecaster:
    """One API that takes a window and answers the mean."""

    def __init__(self) -> None:
        self.session = onnxruntime.InferenceSession(os.environ["ONNX_FILE"], providers=["CPUExecutionProvider"])

    @bentoml.api
    def predict(self, window: np.ndarray) -> np.ndarray:
        """Means [N, 1] of windows [N, lookback, inputs]."""
        return self.session.run(["mean"], {"window": window.astype(np.float32)})[0]
