"""Model files that have been admitted, on the local disk: the only ones that this process ever loads."""

import json
import re
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lake.settings import Settings
from ml.contract import Contract, digest, run, session
from serving.registry import RegisteredVersion, Registry

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

    from ml.arrays import FloatArray

_PATIENCE_SECONDS = 0.7
_ADMISSION_SECONDS = 35.0  # a little more than an examination gives itself
# A refused file is looked at again after this.
_RETRY_SECONDS = 30.0
_LOADED = 8
_DIGEST = re.compile("[0-9a-f]{64}")


class RefusedError(RuntimeError):
    """A version may not serve; the message says why."""


class PendingError(RuntimeError):
    """A version is still being examined."""


@dataclass(frozen=True)
class Model:
    """A loaded version."""

    contract: Contract
    session: "onnxruntime.InferenceSession"

    def predict(self, windows: "NDArray[np.float32]") -> "FloatArray":
        """Means, float64 [N], of windows float32 [N, lookback, inputs]."""
        return run(self.session, windows)


class Examination(threading.Thread):
    """A look at a file that may hang."""

    def __init__(self, look: Callable[[], str]) -> None:
        super().__init__(name="examination", daemon=True)
        self.reason = ""
        self._look = look
        self._ended_at = float("inf")
        self.start()

    def run(self) -> None:
        """Keep what the look finds."""
        try:
            self.reason = self._look()
        except Exception as error:  # no process can be started, say
            self.reason = str(error)
        self._ended_at = time.monotonic()

    def is_over(self) -> bool:
        """Whether it ended so long ago that its store may have been repaired."""
        return time.monotonic() - self._ended_at > _RETRY_SECONDS


class Vault:
    """Admits versions and loads those that it has admitted.

    Parameters
    ----------
    folder : where admitted files are kept, named by their digest; survives the process.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self._examinations: dict[str, Examination] = {}
        self._scales: dict[tuple[str, str], RegisteredVersion] = {}
        self._contracts: dict[str, Contract] = {}
        self._loaded: OrderedDict[str, Model] = OrderedDict()

    def admit(self, version: RegisteredVersion, registry: Registry, patient: bool = False) -> None:
        """Fetch and check a version and the one that scales its intervals, unless that was done before.

        Parameters
        ----------
        patient : wait for as long as an examination may take; else come back later.

        Raises
        ------
        PendingError : it is being examined; ask again.
        RefusedError : it may not serve.
        RegistryError : the version that scales it cannot be looked up.
        """
        self._admit(version, patient)
        if self.contract(version).conformal.scaled_by is not None:
            scale = self.scale(version, registry)
            try:
                self._admit(scale, patient)
            except RefusedError as error:
                raise RefusedError(f"its intervals are scaled by {scale.name} {scale.version}: {error}") from error

    def scale(self, version: RegisteredVersion, registry: Registry) -> RegisteredVersion:
        """The registered version that the intervals of an admitted one are scaled by.

        Raises
        ------
        RefusedError : it is not registered.
        RegistryError : the registry cannot be read.
        """
        key = self.contract(version).conformal.scaled_by
        assert key is not None
        if key not in self._scales:
            found = registry.version(*key)
            if found is None:
                raise RefusedError(f"its intervals are scaled by {' '.join(key)}, which is not registered")
            self._scales[key] = found
        return self._scales[key]

    def file(self, version: RegisteredVersion) -> bytes | None:
        """The file of a version that was admitted; None of any other."""
        key = version.tags.get("digest", "")
        path = self._path(key)
        return path.read_bytes() if _DIGEST.fullmatch(key) and path.exists() else None

    def load(self, version: RegisteredVersion) -> Model:
        """An admitted version; its file is held against the digest once more.

        Raises
        ------
        RefusedError : the file on the local disk is no longer the one that was admitted.
        """
        key = version.tags["digest"]
        if key not in self._loaded:
            graph = self._path(key).read_bytes()
            if digest(graph, _lake_versions(version)) != key:
                self._path(key).unlink(missing_ok=True)  # admitted anew at the next look
                raise RefusedError(f"{version.name} version {version.version}: its file on the local disk has changed")
            self._loaded[key] = Model(self.contract(version), session(graph, threads=1))
        self._loaded.move_to_end(key)
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)
        return self._loaded[key]

    def contract(self, version: RegisteredVersion) -> Contract:
        """What an admitted version says of itself."""
        key = version.tags["digest"]
        if key not in self._contracts:
            self._contracts[key] = Contract.from_json(self._path(key, "json").read_text())
        return self._contracts[key]

    def _admit(self, version: RegisteredVersion, patient: bool) -> None:
        key = version.tags.get("digest", "")
        if not _DIGEST.fullmatch(key) or "lake_versions" not in version.tags:
            raise RefusedError("it was registered without a digest, so its file cannot be verified")
        if self._path(key).exists():
            return
        examination = self._examinations.get(key)
        if examination is None or examination.is_over():
            examination = self._examinations[key] = Examination(lambda: self._examine(version, key))
            examination.join(_ADMISSION_SECONDS if patient else _PATIENCE_SECONDS)
        if examination.is_alive():
            raise PendingError
        if examination.reason:
            raise RefusedError(examination.reason)

    def _examine(self, version: RegisteredVersion, key: str) -> str:
        """Why a version is refused; empty where it is admitted."""
        request = {
            "location": version.location,
            "tracking_uri": self._settings.mlflow_tracking_uri,
            "settings": {"home": str(self._settings.home), "s3_endpoint_url": self._settings.s3_endpoint_url},
            "lake_versions": _lake_versions(version),
            "digest": key,
            "graph": str(self._path(key)),
            "contract": str(self._path(key, "json")),
        }
        done = subprocess.run(
            [sys.executable, "-m", "serving.admission"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.returncode:
            return ""
        said = done.stderr.strip().rpartition("\n")[2]
        return said or f"looking at its file ended the process with {done.returncode}"

    def _path(self, key: str, kind: str = "onnx") -> Path:
        return self._folder / f"{key}.{kind}"


def _lake_versions(version: RegisteredVersion) -> dict[str, int]:
    found: dict[str, int] = json.loads(version.tags["lake_versions"])
    return found
