"""Reproduction: a registered version trained anew from the lake versions that it pins, compared with what is stored."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from lake.store import Lake
from ml.artifact import LoadedModel
from ml.datasets import TARGETS
from ml.inputs import read_inputs
from ml.registry import Registry, RegistryError, platform
from ml.training import Candidate, train

_NEEDED = ("model", "arguments", "lake_versions", "conformal", "digest")


@dataclass(frozen=True)
class Reproduction:
    """What came of training a version anew.

    Attributes
    ----------
    same_file : the file (graph and contract) and the versions it was made from have the registered digest.
    same_weights : the graph, all its weights included, is the stored one bit for bit.
    remarks : what differs from then, in words: code, platform, a version that it builds on.
    """

    name: str
    version: str
    model: str
    digest: str
    rebuilt_digest: str
    weights: str
    rebuilt_weights: str
    remarks: tuple[str, ...]

    @property
    def same_file(self) -> bool:
        """Whether the whole version is the same."""
        return self.digest == self.rebuilt_digest

    @property
    def same_weights(self) -> bool:
        """Whether the graph is the same."""
        return self.weights == self.rebuilt_weights


def reproduce(lake: Lake, registry: Registry, name: str, version: str, code_version: str) -> Reproduction:
    """Train a version anew, from data and parameters alone; the stored file is opened afterwards, to compare.

    Parameters
    ----------
    code_version : of the code that runs now.

    Raises
    ------
    RegistryError : there is no such version, or it does not say what it was made from.
    deltalake.exceptions.DeltaError : a lake version that it pins cannot be read.
    """
    remarks: list[str] = []
    rebuilt = _rebuild(lake, registry, name, version, remarks)
    tags = _tags(registry, name, version)
    if tags.get("code_version") != code_version:
        remarks.append(f"it was made by code {tags.get('code_version')}, and this is {code_version}")
    if tags.get("platform") != platform():
        remarks.append(f"it was made on {tags.get('platform')}, and this is {platform()}")
    return Reproduction(
        name,
        version,
        model=rebuilt.model,
        digest=tags["digest"],
        rebuilt_digest=rebuilt.digest(json.loads(tags["lake_versions"])),
        weights=_weights(registry.load(name, version).onnx),
        rebuilt_weights=_weights(rebuilt.onnx),
        remarks=tuple(remarks),
    )


def _rebuild(lake: Lake, registry: Registry, name: str, version: str, remarks: list[str]) -> Candidate:
    """The candidate that the parameters of a version give now; the version that scales its intervals comes first."""
    tags = _tags(registry, name, version)
    scale = None
    if scaled_by := json.loads(tags["conformal"])["scaled_by"]:
        scale_name, scale_version = scaled_by
        onnx = _rebuild(lake, registry, scale_name, scale_version, remarks).onnx
        scale = LoadedModel(scale_name, scale_version, run_id="", onnx=onnx)
        if _weights(onnx) != _weights(registry.load(scale_name, scale_version).onnx):
            remarks.append(f"{scale_name} version {scale_version}, which scales its intervals, comes out different")
    features, _ = read_inputs(lake, json.loads(tags["lake_versions"]))
    result = train(TARGETS[name], features, volatility_model=scale, **json.loads(tags["arguments"]))
    return result.candidates[tags["model"]]


def _tags(registry: Registry, name: str, version: str) -> Mapping[str, str]:
    found = registry.registered(name, version)
    if found is None:
        raise RegistryError(f"{name} has no version {version}")
    if missing := [tag for tag in _NEEDED if tag not in found.tags]:
        raise RegistryError(f"{name} version {version} cannot be rebuilt: it does not say its {', '.join(missing)}")
    return found.tags


def _weights(onnx: bytes) -> str:
    """Hash of the graph: operators, weights and trees, without the contract beside it."""
    import onnx as library

    return hashlib.sha256(library.load_from_string(onnx).graph.SerializeToString(deterministic=True)).hexdigest()
