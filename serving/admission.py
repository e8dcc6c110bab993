"""Whether a model file may serve: fetch it, hold it against the registry's digest, load it, ask it its golden window.

Runs in a process of its own (`python -m serving.admission`), so that a file that hangs or crashes ONNX Runtime takes
nothing with it, and the API needs no memory for what it rarely does. Only ONNX is ever loaded, never a pickle.
"""

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lake.files import Folder
from lake.settings import Settings
from ml.contract import Contract, contract_of, digest, run, session

FILE = "model.onnx"
_MAX_BYTES = 512 * 1024 * 1024
_SECONDS = 30
_RELATIVE, _ABSOLUTE = 1e-3, 1e-6  # between processors; a wrong graph is off by far more


def main() -> None:
    """Admit what standard input asks for: leave its file and contract at the paths given, or exit with the reason."""
    signal.alarm(_SECONDS)
    request = json.load(sys.stdin)
    try:
        graph = fetch(request["location"], request["tracking_uri"], Settings(**request["settings"]))
        contract = check(graph, request["lake_versions"], request["digest"])
    except Exception as error:  # whatever a store or ONNX Runtime raises
        sys.exit(str(error).strip().partition("\n")[0] or type(error).__name__)
    write(Path(request["contract"]), contract.to_json().encode())
    write(Path(request["graph"]), graph)  # last: where it is, the contract is


def write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def fetch(location: str, tracking_uri: str, settings: Settings) -> bytes:
    """The model file of a version, from a folder, S3, or through the MLflow server that keeps it."""
    scheme, _, path = location.partition(":")
    if scheme == "mlflow-artifacts":
        path = "/" + path.lstrip("/") if not path.startswith("//") else "/" + path[2:].partition("/")[2]
        url = f"{tracking_uri.rstrip('/')}/api/2.0/mlflow-artifacts/artifacts{path}/{FILE}"
        with urllib.request.urlopen(url, timeout=_SECONDS) as response:
            graph: bytes = response.read(_MAX_BYTES + 1)
    else:
        graph = Folder(location.removeprefix("file://"), settings).read(FILE, limit=_MAX_BYTES + 1)
    if len(graph) > _MAX_BYTES:
        raise ValueError(f"the file is larger than {_MAX_BYTES // 1024**2} MB")
    return graph


def check(graph: bytes, lake_versions: Mapping[str, int], expected: str) -> Contract:
    """The contract of a file that is what the registry says and answers as it did when it was made.

    Raises
    ------
    ValueError : another digest, no contract, another shape, or another answer than it gave then.
    """
    if digest(graph, lake_versions) != expected:
        raise ValueError("its file is not the one that was registered: the digest differs")
    model = session(graph)
    try:
        contract = contract_of(model)
    except KeyError as error:
        raise ValueError(f"its contract lacks {error}: train it anew") from error
    _check_shape(model, contract)
    golden = contract.golden
    mean = run(model, np.asarray([golden.window], np.float32))
    if mean.shape != (1,):
        raise ValueError(f"it answers {mean.size} numbers to one window")
    if not np.isfinite(mean).all():
        raise ValueError(f"it answers {mean[0]} to its golden window")
    if not np.isclose(mean[0], golden.mean, rtol=_RELATIVE, atol=_ABSOLUTE):
        raise ValueError(f"it answers {mean[0]:.6g} to its golden window, and {golden.mean:.6g} when it was made")
    return contract


def _check_shape(model: Any, contract: Contract) -> None:
    given = {tensor.name: tensor.shape[1:] for tensor in model.get_inputs()}
    wanted = {"window": [contract.lookback, len(contract.inputs)]}
    if given != wanted:
        raise ValueError(f"its inputs are {given}, and its contract says {wanted}")
    if contract.ranges.keys() != set(contract.inputs):
        raise ValueError("its contract gives the ranges of other inputs than it has")


if __name__ == "__main__":
    main()
