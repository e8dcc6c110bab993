"""Registry: MLflow runs, model versions and aliases; the only module that knows MLflow."""

import json
import os
import platform as platform_of
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.evidence import RegisteredVersion
from lake.settings import Settings
from ml import plots
from ml.artifact import LoadedModel
from ml.gate import Decision, Incumbent
from ml.training import Candidate, TrainingResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER, BASELINE, CHAMPION, PREVIOUS = "challenger", "baseline", "champion", "previous"
CHALLENGER_SHARE = "challenger_share"
"""Tag of a registered model: the share of its symbols that the challenger serves."""

_TRAINERS = ("numpy", "scikit-learn", "keras", "onnx", "skl2onnx")

_MOVED, _ROLLED_BACK = "promotion", "rolled_back"
"""Tags of a version: when, by whom and why it became champion; by whom and why it had to make place."""


class RegistryError(ValueError):
    """What is asked of the registry cannot be done; the message says why in one sentence."""


@dataclass(frozen=True)
class Promotion(Decision):
    """A decision that was carried out: `version` carries the alias `champion` (None where none ever passed)."""

    version: str | None


@dataclass(frozen=True)
class Move:
    """One way of the alias `champion` from a version (None: there was none) to another.

    `action` is gate, promote, rollback, or outside: then somebody has moved it with other tools.
    """

    decided_at: datetime
    model: str
    action: str
    from_version: str | None
    to_version: str
    who: str
    why: str


@dataclass(frozen=True)
class Registered:
    """A version in the registry; `created` is False where an equal one was there before."""

    name: str
    version: str
    model: str
    digest: str
    created: bool


class Registry:
    """MLflow's tracking store and model registry at `settings.mlflow_tracking_uri`.

    Models are named as their target. Writing (`log`, `register`) happens inside the active MLflow run of the caller.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow client; the first access imports MLflow and makes its store the one of this process."""
        for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            os.environ.setdefault(name, "true")
        if self._settings.s3_endpoint_url:
            os.environ.setdefault("MLFLOW_S3_ENDPOINT_URL", self._settings.s3_endpoint_url)
        import mlflow

        uri = self._settings.mlflow_tracking_uri
        if (file := self._settings.mlflow_sqlite_file) is not None:
            _create_store(file)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    def ensure_experiment(self, name: str) -> str:
        """Id of the experiment, created where it is missing.

        Its artefacts go below `settings.mlflow_artifacts`; a tracking server (http) keeps them where it is told to.
        """
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        served = self._settings.mlflow_tracking_uri.startswith("http")
        root = None if served else f"{self._settings.mlflow_artifact_root}/{name}"
        return str(self.client.create_experiment(name, artifact_location=root))

    def log(self, result: TrainingResult, decision: Decision) -> None:
        """Params, metrics, learning curves, figures and the decision, into the active run."""
        from mlflow.entities import Metric, Param

        run_id, now = _active_run_id(), time.time_ns() // 1_000_000
        metrics = [
            Metric(f"{part}/{c.model}/{name}", value, now, 0)
            for c in result.candidates.values()
            for part, scores in c.metrics.items()
            for name, value in scores.items()
        ]
        metrics += [Metric(f"export/{c.model}/parity", c.parity, now, 0) for c in result.candidates.values()]
        metrics += [Metric(f"gate/{name}", value, now, 0) for name, value in decision.numbers.items()]
        metrics += [
            Metric(f"curve/{c.model}/{name}", value, now, step)
            for c in result.candidates.values()
            for step, point in enumerate(c.curve)
            for name, value in point.items()
        ]
        params = {**result.params, "challenger": result.challenger.model, "baseline": result.baseline.model}
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])
        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])
        with tempfile.TemporaryDirectory() as folder:
            for name, content in _documents(result, decision).items():
                (Path(folder) / name).write_bytes(content)
            self.client.log_artifacts(run_id, folder)

    def register(
        self,
        result: TrainingResult,
        decision: Decision,
        *,
        lake_versions: Mapping[str, int],
        code_version: str,
    ) -> dict[str, Registered]:
        """Register challenger and baseline under the target's name, with aliases of that name; by candidate name.

        A version with the same digest (graph, contract, lake versions) is reused, so registering twice changes nothing.
        The decision is kept with the challenger, for `promote`.
        """
        registered = {
            candidate.model: self._register(candidate, result, lake_versions, code_version)
            for candidate in (result.challenger, result.baseline)
        }
        name, challenger = result.target.name, registered[result.challenger.model].version
        self.client.set_model_version_tag(name, challenger, "decision", json.dumps(asdict(decision)))
        self.set_alias(name, challenger, CHALLENGER)
        self.set_alias(name, registered[result.baseline.model].version, BASELINE)
        return registered

    def promote(self, name: str, who: str = "gate", failed_checks: Collection[str] = ()) -> Promotion:
        """Carry out the decision on the newest challenger: its winner gets the alias `champion`.

        Nothing moves where the decision did not pass, where checks upstream have failed, where a person has rolled the
        winner back, or where the champion is another one than the winner was compared with.

        Raises
        ------
        MlflowException
            If nothing was registered under `name` yet.
        """
        challenger = self.client.get_model_version_by_alias(name, CHALLENGER)
        decision = Decision(**json.loads(challenger.tags["decision"]))
        champion = self._by_alias(name, CHAMPION)
        if failed_checks:
            reason = f"{decision.reason}; nothing moves, as checks have failed: {', '.join(failed_checks)}"
            decision = replace(decision, passed=False, reason=reason)
        elif decision.passed and decision.role != "champion":
            winner = challenger
            if decision.role == "baseline":
                winner = self.client.get_model_version_by_alias(name, BASELINE)
            if champion is not None and champion.version != winner.version:
                decision = _held_back(decision, winner, champion)
            if decision.role != "champion":
                self._move(name, str(winner.version), "gate", who, decision.reason)
                champion = winner
        return Promotion(**asdict(decision), version=str(champion.version) if champion else None)

    def appoint(self, name: str, version: str, who: str, why: str) -> bool:
        """Make a version the champion on a person's word; False where it is already.

        Raises
        ------
        RegistryError : there is no such version, or it cannot serve.
        """
        from mlflow.exceptions import MlflowException

        try:
            model = self.load(name, version)
        except MlflowException as error:
            raise RegistryError(f"{name} has no version {version}") from error
        if model.contract.target != name:
            raise RegistryError(f"version {version} of {name} forecasts {model.contract.target}")
        with suppress(MlflowException):
            self.client.delete_model_version_tag(name, version, _ROLLED_BACK)
        return self._move(name, version, "promote", who, why)

    def roll_back(self, name: str, who: str, why: str) -> str:
        """Make the champion before the present one the champion again; the version.

        The version that makes place never comes back by the gate, and neither does it by a second rollback.

        Raises
        ------
        RegistryError : there is no champion before the present one.
        """
        champion, previous = self._by_alias(name, CHAMPION), self._by_alias(name, PREVIOUS)
        if champion is None or previous is None:
            raise RegistryError(f"{name} has no previous champion to go back to: `lakehouse promote` takes any version")
        if champion.version != previous.version:
            self.client.set_model_version_tag(name, champion.version, _ROLLED_BACK, f"by {who}: {why}")
            self._move(name, str(previous.version), "rollback", who, why)
        self.client.delete_registered_model_alias(name, PREVIOUS)
        return str(previous.version)

    def incumbent(self, name: str) -> Incumbent | None:
        """The champion as the gate compares a newcomer with it; None before the first."""
        version = self._by_alias(name, CHAMPION)
        if version is None:
            return None
        model = self._load(version)
        scaled_by = model.conformal.scaled_by
        return Incumbent(
            model,
            learned=json.loads(version.tags["learned"]),
            scale_model=self.load(*scaled_by) if scaled_by else None,
            unseen_since=json.loads(version.tags["split"])["test"][0],
        )

    def champions(self) -> dict[str, tuple[str, Move | None]]:
        """Of every model that has one, the version of the champion, and how it last became that; None: not by us."""
        found = {}
        for model in self.client.search_registered_models():
            if CHAMPION in model.aliases:
                version = self.client.get_model_version(model.name, model.aliases[CHAMPION])
                said = json.loads(version.tags.get(_MOVED, "null"))
                move = None
                if said:
                    said["decided_at"] = datetime.fromisoformat(said["decided_at"])
                    move = Move(model=model.name, to_version=str(version.version), **said)
                found[model.name] = str(version.version), move
        return found

    def _move(self, name: str, version: str, action: str, who: str, why: str) -> bool:
        """Point `champion` at a version, and `previous` at the one before; False where it is there already.

        What the audit shall say is written first: a kill in between loses nothing, and the same call again ends it.
        """
        champion = self._by_alias(name, CHAMPION)
        before = str(champion.version) if champion else None
        if before == version:
            return False
        now = datetime.now(UTC).isoformat()
        moved = {"decided_at": now, "action": action, "from_version": before, "who": who, "why": why}
        self.client.set_model_version_tag(name, version, _MOVED, json.dumps(moved))
        if before is not None and action != "rollback":
            self.set_alias(name, before, PREVIOUS)
        self.set_alias(name, version)
        return True

    def set_alias(self, name: str, version: str, alias: str = CHAMPION) -> None:
        """Point the alias of a registered model at a version."""
        self.client.set_registered_model_alias(name, alias, version)

    def champion(self, name: str) -> LoadedModel | None:
        """The version that carries the alias `champion`; None before the first."""
        version = self._by_alias(name, CHAMPION)
        return self._load(version) if version else None

    def challenger(self, name: str) -> LoadedModel | None:
        """The version that carries the alias `challenger`; None before the first."""
        version = self._by_alias(name, CHALLENGER)
        return self._load(version) if version else None

    def challenger_share(self, name: str) -> float | None:
        """Share of the symbols that the challenger serves (0: it only forecasts); None where it does not forecast."""
        share = self.client.get_registered_model(name).tags.get(CHALLENGER_SHARE)
        return None if share is None else float(share)

    def challenge(self, name: str, share: float | None) -> str | None:
        """Let the challenger forecast, and serve a share of the symbols; None stops it.

        Returns
        -------
        The version that forecasts as challenger now; None where it is the champion, or where nobody shall.

        Raises
        ------
        RegistryError : no version was ever a challenger.
        """
        challenger = self._by_alias(name, CHALLENGER)
        if challenger is None:
            raise RegistryError(f"no version of {name} is a challenger: materialise models/{name} first")
        if share is None:
            if self.challenger_share(name) is not None:
                self.client.delete_registered_model_tag(name, CHALLENGER_SHARE)
            return None
        self.client.set_registered_model_tag(name, CHALLENGER_SHARE, f"{share:g}")
        champion = self._by_alias(name, CHAMPION)
        return None if champion and champion.version == challenger.version else str(challenger.version)

    def unseen_from(self, name: str, version: str) -> datetime:
        """First session that a version neither learned from nor was calibrated on."""
        first, _ = json.loads(self.tags(name, version)["split"])["test"]
        return datetime.fromisoformat(first).replace(tzinfo=UTC)

    def load(self, name: str, version: str) -> LoadedModel:
        """A registered version. Raises `MlflowException` where there is none."""
        return self._load(self.client.get_model_version(name, version))

    def tags(self, name: str, version: str) -> dict[str, str]:
        """What a version says of itself: features, seed, lake versions, code version, metrics, split, decision."""
        return dict(self.client.get_model_version(name, version).tags)

    def registered(self, name: str, version: str) -> RegisteredVersion | None:
        """What the registry says of a version; None where it has none."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_model_version(name, version)
        except MlflowException:
            return None
        created_at = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
        return RegisteredVersion(name, str(found.version), found.run_id, created_at, dict(found.tags))

    def lake_versions(self) -> list[dict[str, int]]:
        """Of every registered version the lake tables, with their versions, that it was trained on."""
        file = self._settings.mlflow_sqlite_file
        if file is not None and not file.exists():
            return []
        found, token = [], None
        while True:
            page = self.client.search_model_versions(page_token=token)
            found += [json.loads(version.tags["lake_versions"]) for version in page if "lake_versions" in version.tags]
            token = page.token
            if not token:
                return found

    def _register(
        self,
        candidate: Candidate,
        result: TrainingResult,
        lake_versions: Mapping[str, int],
        code_version: str,
    ) -> Registered:
        name, digest = result.target.name, candidate.digest(lake_versions)
        found = self.client.search_model_versions(f"name = '{name}' and tags.digest = '{digest}'")
        if found:
            return Registered(name, str(found[0].version), candidate.model, digest, created=False)
        import mlflow
        import onnx

        _active_run_id()
        logged = mlflow.onnx.log_model(
            onnx.load_from_string(candidate.onnx),
            name=candidate.model,
            pip_requirements=[f"{package}=={installed(package)}" for package in ("onnx", "onnxruntime")],
            signature=_signature(candidate),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        version = mlflow.register_model(
            logged.model_uri,
            name,
            tags={
                "digest": digest,
                "lake_versions": json.dumps(dict(lake_versions), sort_keys=True),
                "code_version": code_version,
                **_tags(candidate, result),
            },
        )
        return Registered(name, str(version.version), candidate.model, digest, created=True)

    def _by_alias(self, name: str, alias: str) -> Any:
        """The model version behind an alias; None where model or alias does not exist."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise

    def _load(self, version: Any) -> LoadedModel:
        from mlflow.artifacts import download_artifacts

        uri = f"models:/{version.name}/{version.version}"
        folder = Path(download_artifacts(artifact_uri=uri, tracking_uri=self._settings.mlflow_tracking_uri))
        onnx = (folder / "model.onnx").read_bytes()
        return LoadedModel(version.name, str(version.version), version.run_id, onnx)


def _held_back(decision: Decision, winner: Any, champion: Any) -> Decision:
    """The decision, or that the champion stays because of what has happened since, or before, it was made."""
    if _ROLLED_BACK in winner.tags:
        obstacle = f"version {winner.version} was rolled back {winner.tags[_ROLLED_BACK]}"
    elif decision.against != str(champion.version):
        obstacle = f"it was compared with version {decision.against}, and version {champion.version} is champion now"
    else:
        return decision
    return replace(
        decision,
        winner=champion.tags["model"],
        role="champion",
        learned=json.loads(champion.tags["learned"]),
        reason=f"{decision.reason}; the champion stays: {obstacle}",
    )


def platform() -> str:
    """What weights depend on besides data, parameters and our own code."""
    system = f"{platform_of.system()} {platform_of.machine()}, Python {platform_of.python_version()}"
    return ", ".join([system, *(f"{package} {installed(package)}" for package in _TRAINERS)])


def _create_store(path: Path) -> None:
    """Create MLflow's SQLite file whole: MLflow makes its tables one by one, and after a kill never gets over it."""
    import mlflow

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{part}").search_experiments()
    # Unlike a rename, a link does not replace a store that another process has made meanwhile.
    with suppress(FileExistsError, FileNotFoundError):
        os.link(part, path)
    for leftover in path.parent.glob(f"{path.name}.*.part*"):  # ours, and those of processes that were killed
        leftover.unlink(missing_ok=True)


def _tags(candidate: Candidate, result: TrainingResult) -> dict[str, str]:
    return {
        "model": candidate.model,
        "learned": json.dumps(candidate.learned),
        "features": json.dumps(candidate.contract.inputs),
        "lookback": str(candidate.contract.lookback),
        "seed": str(result.seed),
        "arguments": json.dumps(result.arguments, sort_keys=True),
        "platform": platform(),
        "metrics": json.dumps(candidate.metrics),
        "parity": f"{candidate.parity:.3g}",
        "conformal": json.dumps(asdict(candidate.contract.conformal)),
        "split": json.dumps(result.split_dates),
    }


def _documents(result: TrainingResult, decision: Decision) -> dict[str, bytes]:
    """Files of the run: the contract of each registered candidate, the decision, and pictures of both."""
    contracts = {f"{c.model}.json": c.contract.to_json().encode() for c in (result.challenger, result.baseline)}
    return {
        **contracts,
        "decision.json": json.dumps(asdict(decision), indent=2).encode(),
        "split.json": json.dumps(result.split_dates, indent=2).encode(),
        "learning_curve.png": plots.learning_curve(result),
        "forecast_vs_outcome.png": plots.forecast_vs_outcome(result),
        "coverage.png": plots.coverage(result),
    }


def _signature(candidate: Candidate) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1, candidate.contract.lookback, len(candidate.contract.inputs))
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), shape, "window")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 1), "mean")]),
    )


def _active_run_id() -> str:
    import mlflow

    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("no MLflow run is active: open one before logging or registering")
    return str(run.info.run_id)
