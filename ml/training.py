"""Training: fit the candidates of one target on a split of the panel, and return everything a decision needs."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml import evaluation, explain, intervals
from ml.arrays import FloatArray
from ml.artifact import LoadedModel, pack, volatility_scale
from ml.contract import Contract, digest, golden, ranges, run, session
from ml.datasets import PARTS, Panel, Split, Target, label, split
from ml.models import forecasters
from ml.models.base import Forecaster, Sample

logger = logging.getLogger(__name__)

PARITY_WINDOWS = 2000
EXPLAINED = 32
"""Held-out forecasts that the importance of features is averaged over."""
CANDIDATES = {
    "return": ("zero", "historical_mean", "boosting", "lstm"),
    "volatility": ("ewma", "har", "garch", "boosting", "lstm", "combination"),
}
"""What a training fits, by kind of target: quick to fit, and the best known (docs/models.md)."""


@dataclass(frozen=True)
class Candidate:
    """One fitted forecaster, ready to register.

    `metrics` holds {"validation": {...}, "test": {...}}; `parity` is the largest relative difference between the
    forecasts of the exported graph and of the model that was trained; `test_mean` [test rows] and `test_bounds`
    [test rows, levels, 2] are its forecasts on the held-out period.
    """

    model: str
    learned: bool
    contract: Contract
    onnx: bytes
    parity: float
    metrics: Mapping[str, Mapping[str, float]]
    curve: list[dict[str, float]]
    test_mean: FloatArray
    test_bounds: FloatArray

    def digest(self, lake_versions: Mapping[str, int]) -> str:
        """Identity of this version: graph, contract (inputs, look-back, seed, intervals) and the data's versions."""
        return digest(self.onnx, lake_versions)


@dataclass(frozen=True)
class TrainingResult:
    """Everything one training produced.

    `arguments` are those of `train` that give this result again, with the data and the version that scales intervals.
    `importance` is the mean absolute contribution of each feature to the challenger's held-out forecasts.
    `test` has one row a held-out forecast: symbol, ts, outcome, challenger, baseline. `challenger` is the learned
    model with the lowest validation loss, `baseline` the naive one with the lowest; the test period chose neither.
    """

    target: Target
    seed: int
    arguments: Mapping[str, Any]
    params: Mapping[str, Any]
    split_dates: Mapping[str, tuple[str, str]]
    candidates: Mapping[str, Candidate]
    challenger: Candidate
    baseline: Candidate
    importance: Mapping[str, float]
    test: pd.DataFrame


def train(
    target: Target,
    features: pd.DataFrame,
    *,
    seed: int = 0,
    lookback: int = 20,
    epochs: int = 8,
    volatility_model: LoadedModel | None = None,
) -> TrainingResult:
    """Fit, calibrate, evaluate and export every candidate of `target`.

    Parameters
    ----------
    features : rows of `market/features`; for a volatility with the column `garch_vol`.
    lookback : sessions in a window of the recurrent model; rows with less history are not used by any candidate.
    volatility_model : scales the intervals of a return target; None takes the naive EWMA volatility.

    Raises
    ------
    ValueError
        If columns are missing, or the universe is too small for the split; the message names what is missing.
    """
    arguments = {"seed": seed, "lookback": lookback, "epochs": epochs}
    panel = Panel.of(features)
    outcome = label(panel.frame, target)
    parts = split(panel, outcome, target, max(lookback, volatility_model.lookback if volatility_model else 1))
    candidates: dict[str, Candidate] = {}
    for model in forecasters(target, CANDIDATES[target.kind], seed=seed, lookback=lookback, epochs=epochs):
        candidates[model.name] = candidate = _candidate(model, panel, outcome, parts, volatility_model)
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in candidate.metrics["test"].items())
        logger.info("%s, %s on held-out time: %s", target.name, model.name, metrics)
    by_loss = sorted(candidates.values(), key=lambda c: c.metrics["validation"]["loss"])
    challenger = next(c for c in by_loss if c.learned)
    baseline = next(c for c in by_loss if not c.learned)
    rows = parts.rows["test"]
    explained = rows[np.linspace(0, len(rows) - 1, EXPLAINED).astype(int)]
    answering = LoadedModel(target.name, "", "", challenger.onnx)
    return TrainingResult(
        target=target,
        seed=seed,
        arguments=arguments,
        params={
            **arguments,
            "horizon": target.horizon,
            "symbols": int(panel.frame["symbol"].nunique()),
            **{f"{part}_rows": len(parts.rows[part]) for part in PARTS},
        },
        split_dates=parts.dates,
        candidates=candidates,
        challenger=challenger,
        baseline=baseline,
        importance=explain.importance(answering, panel.windows(explained, answering.inputs, answering.lookback)),
        test=panel.frame.loc[rows, ["symbol", "ts"]]
        .assign(outcome=outcome[rows], challenger=challenger.test_mean, baseline=baseline.test_mean)
        .reset_index(drop=True),
    )


def _candidate(
    model: Forecaster, panel: Panel, outcome: FloatArray, parts: Split, volatility_model: LoadedModel | None
) -> Candidate:
    """Fit on train and validation, calibrate on calibration, score on test."""
    target = model.target

    def sample(part: str) -> Sample:
        rows = parts.rows[part]
        return Sample(panel.view(rows, model.inputs, model.lookback), outcome[rows])

    def scale(part: str) -> FloatArray | None:
        if target.kind == "volatility":
            return None
        return volatility_scale(panel, parts.rows[part], target.horizon, volatility_model)

    train_sample, validation, calibration, test = (sample(part) for part in PARTS)
    model.fit(train_sample, validation)
    conformal = intervals.calibrate(
        calibration.outcome,
        model.predict(calibration.windows),
        scale("calibration"),
        scaled_by=(volatility_model.name, volatility_model.version) if volatility_model else None,
    )
    test_mean = model.predict(test.windows)
    test_bounds = conformal.intervals(test_mean, scale("test"))
    covered = zip(conformal.levels, intervals.coverage(test.outcome, test_bounds), strict=True)

    def metrics(part: str, actual: FloatArray, mean: FloatArray) -> dict[str, float]:
        if target.kind == "return":
            scores = evaluation.return_metrics(actual, mean, float(np.mean(train_sample.outcome)))
        else:
            naive = panel.naive_volatility(parts.rows[part], target.horizon)
            scores = evaluation.volatility_metrics(actual, mean, naive)
        return {"loss": float(np.mean(evaluation.loss(target, actual, mean))), **scores}

    graph = model.export()
    contract = Contract(
        target=target.name,
        model=model.name,
        inputs=model.inputs,
        lookback=model.lookback,
        seed=model.seed,
        conformal=conformal,
        ranges=ranges(train_sample.windows, model.inputs),
        typical=tuple(train_sample.windows[:, -1].mean(axis=0, dtype=np.float64).tolist()),
        golden=golden(graph, train_sample.windows[-1]),
    )
    return Candidate(
        model=model.name,
        learned=model.learned,
        contract=contract,
        onnx=pack(graph, contract),
        parity=relative_difference(run(session(graph), test.windows[:PARITY_WINDOWS]), test_mean[:PARITY_WINDOWS]),
        metrics={
            "validation": metrics("validation", validation.outcome, model.predict(validation.windows)),
            "test": metrics("test", test.outcome, test_mean)
            | {f"coverage_{level * 100:.0f}": float(share) for level, share in covered},
        },
        curve=model.curve,
        test_mean=test_mean,
        test_bounds=test_bounds,
    )


def relative_difference(exported: FloatArray, trained: FloatArray) -> float:
    """Largest difference relative to the forecast, or to the typical forecast where one is close to zero."""
    typical = np.sqrt(np.mean(trained**2))
    size = np.maximum(np.abs(trained), typical)
    return float(np.max(np.abs(exported - trained) / np.where(size > 0, size, 1.0)))
