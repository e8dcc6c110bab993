"""Gate: which version of a target deserves the alias `champion`, decided on held-out time and said in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.artifact import LoadedModel, volatility_scale
from ml.datasets import MIN_ROWS, Panel
from ml.evaluation import bootstrap_difference, loss
from ml.training import Candidate, TrainingResult

PARITY = 1e-5
LEVEL, TOLERANCE = 0.90, 0.10
"""The interval whose held-out coverage is looked at, and how far from its level it may credibly be."""

Role = Literal["challenger", "baseline", "champion"]


@dataclass(frozen=True)
class Decision:
    """What the gate says of one training.

    Attributes
    ----------
    winner, role : name of the model that shall serve, and which of the three it is.
    learned : whether it is a learned model.
    edge : whether the challenger's loss on held-out time is lower than the baseline's, with a 95 % interval that
        excludes no difference.
    passed : whether the winner is sound enough to serve.
    against : version that was the champion when this was decided; None where there was none.
    """

    target: str
    winner: str
    role: Role
    learned: bool
    edge: bool
    passed: bool
    reason: str
    numbers: Mapping[str, float]
    against: str | None


@dataclass(frozen=True)
class Incumbent:
    """The present champion, with what the comparison needs to know of it.

    Attributes
    ----------
    scale_model : what scales its intervals; None where these scale by themselves or by the naive volatility.
    unseen_since : first session of its own test period (ISO date): before, it was fitted, selected and calibrated.
    """

    model: LoadedModel
    learned: bool
    scale_model: LoadedModel | None
    unseen_since: str


def decide(
    result: TrainingResult, features: pd.DataFrame | None = None, incumbent: Incumbent | None = None
) -> Decision:
    """The winner of a training: a newcomer takes the place of the champion only where it is at least as good.

    The newcomer is the challenger where it is sound and credibly better than the naive baseline, else the baseline. It
    wins where its mean loss is no higher than the champion's; in doubt the champion stays.

    Losses (squared error for returns, QLIKE for volatilities) are compared forecast by forecast over the test period,
    which neither fitted nor selected anything, with a circular block bootstrap over its sessions. Being lower than the
    baseline by luck is not enough: the 95 % interval of the difference has to exclude zero. Newcomer and champion both
    answer from their ONNX graphs, on the sessions of the test period that the champion's own training had not seen.

    Parameters
    ----------
    features : those that `result` was trained on; needed where there is an incumbent.
    """
    challenger, baseline = result.challenger, result.baseline
    outcome, ts = _outcome(result), _sessions(result)
    difference = loss(result.target, outcome, challenger.test_mean) - loss(result.target, outcome, baseline.test_mean)
    mean, lower, upper = bootstrap_difference(difference, ts, seed=result.seed)
    edge = upper < 0
    faults = {c.model: _faults(c, result) for c in (challenger, baseline)}
    newcomer = challenger if edge and not faults[challenger.model] else baseline
    gain = -mean / baseline.metrics["test"]["loss"]
    reason = (
        f"the loss of {challenger.model} is {_percent(gain)} than that of {baseline.model} on {len(difference)} "
        f"held-out forecasts (difference {mean:.3g}, 95% interval {lower:.3g} to {upper:.3g}): "
        + ("a credible edge" if edge else "no credible edge, so the naive forecast comes forward")
    )
    for name, found in faults.items():
        if found:
            reason += f"; {name} is unsound: {', '.join(found)}"
    decision = Decision(
        target=result.target.name,
        winner=newcomer.model,
        role="challenger" if newcomer is challenger else "baseline",
        learned=newcomer.learned,
        edge=edge,
        passed=not faults[newcomer.model],
        reason=reason,
        numbers={
            "loss_difference": mean,
            "loss_difference_lower": lower,
            "loss_difference_upper": upper,
            "loss_gain": gain,
            "winner_parity": newcomer.parity,
            "winner_coverage_90": newcomer.metrics["test"]["coverage_90"],
        },
        against=incumbent.model.version if incumbent else None,
    )
    if incumbent is None:
        return decision
    assert features is not None
    return _unless_the_champion_is_better(decision, newcomer, incumbent, result, features)


def _unless_the_champion_is_better(
    decision: Decision, newcomer: Candidate, incumbent: Incumbent, result: TrainingResult, features: pd.DataFrame
) -> Decision:
    """The decision for a newcomer, or that the champion stays."""
    name = f"the champion ({incumbent.model.contract.model}, version {incumbent.model.version})"
    panel = Panel.of(features)
    if lacking := set(incumbent.model.inputs) - set(panel.columns):
        return replace(decision, reason=f"{decision.reason}; {name} lacks the features {', '.join(sorted(lacking))}")
    index = pd.MultiIndex.from_frame(panel.frame[["symbol", "ts"]])
    rows = index.get_indexer(pd.MultiIndex.from_frame(result.test[["symbol", "ts"]]))
    unseen = (_sessions(result) >= np.datetime64(incumbent.unseen_since)) & (
        panel.run[rows] >= incumbent.model.lookback
    )
    rows, outcome, ts = rows[unseen], _outcome(result)[unseen], _sessions(result)[unseen]
    if len(rows) < MIN_ROWS["test"]:
        reason = f"{decision.reason}; {name} stays: it has seen all but {len(rows)} of the forecasts to compare"
        return _champion_stays(decision, incumbent, reason, {})
    mean = incumbent.model.forecast(panel, rows)
    scale = volatility_scale(panel, rows, result.target.horizon, incumbent.scale_model)
    bounds = incumbent.model.conformal.intervals(mean, scale)
    theirs = LoadedModel(result.target.name, "", "", newcomer.onnx).forecast(panel, rows)
    own_loss = loss(result.target, outcome, mean)
    worse, lower, upper = bootstrap_difference(loss(result.target, outcome, theirs) - own_loss, ts, seed=result.seed)
    covered, fault = _coverage(outcome, bounds[:, incumbent.model.conformal.levels.index(LEVEL)], ts, result.seed)
    faults = fault if np.isfinite(mean).all() else [*fault, "some forecasts are not finite"]
    numbers = {
        "champion_loss_difference": worse,
        "champion_loss_difference_lower": lower,
        "champion_loss_difference_upper": upper,
        "champion_coverage_90": covered,
        "champion_forecasts": float(len(rows)),
    }
    reason = (
        f"{decision.reason}; the loss of {newcomer.model} is {_percent(-worse / float(np.mean(own_loss)))} than that "
        f"of {name} on {len(rows)} forecasts that neither has seen (difference {worse:.3g}, 95% interval {lower:.3g} "
        f"to {upper:.3g})"
    )
    if faults:
        reason += f"; the champion is unsound: {', '.join(faults)}"
    elif not decision.passed or worse > 0:
        return _champion_stays(decision, incumbent, f"{reason}: the champion stays", numbers)
    return replace(decision, reason=reason, numbers={**decision.numbers, **numbers})


def _champion_stays(decision: Decision, incumbent: Incumbent, reason: str, numbers: Mapping[str, float]) -> Decision:
    edge = {name: value for name, value in decision.numbers.items() if name.startswith("loss_")}
    return replace(
        decision,
        winner=incumbent.model.contract.model,
        role="champion",
        learned=incumbent.learned,
        passed=True,
        reason=reason,
        numbers={**edge, **numbers},
    )


def _faults(candidate: Candidate, result: TrainingResult) -> list[str]:
    """What makes a candidate unfit to serve, in words."""
    found = []
    if not np.isfinite(candidate.test_mean).all():
        found.append("some forecasts are not finite")
    if not candidate.parity <= PARITY:
        found.append(f"ONNX differs from the trained model by {candidate.parity:.1e} (allowed {PARITY:.0e})")
    bounds = candidate.test_bounds[:, candidate.contract.conformal.levels.index(LEVEL)]
    return found + _coverage(_outcome(result), bounds, _sessions(result), result.seed)[1]


def _coverage(
    outcome: FloatArray, bounds: FloatArray, ts: NDArray[np.datetime64], seed: int
) -> tuple[float, list[str]]:
    """Share of outcomes [N] inside bounds [N, 2], and what is wrong with it, in words.

    A short test period says little about coverage, and its bootstrap interval is wide: only a coverage that is credibly
    off counts.
    """
    inside = ((outcome >= bounds[:, 0]) & (outcome <= bounds[:, 1])).astype(np.float64)
    covered, lower, upper = bootstrap_difference(inside, ts, seed=seed)
    if upper < LEVEL - TOLERANCE or lower > LEVEL + TOLERANCE:
        return covered, [f"its {LEVEL:.0%} interval covers {covered:.1%} (95 % interval {lower:.1%} to {upper:.1%})"]
    return covered, []


def _percent(gain: float) -> str:
    return f"{abs(gain):.1%} {'lower' if gain > 0 else 'higher'}" if gain else "no other"


def _outcome(result: TrainingResult) -> FloatArray:
    return result.test["outcome"].to_numpy(np.float64)


def _sessions(result: TrainingResult) -> NDArray[np.datetime64]:
    return result.test["ts"].to_numpy("datetime64[us]")
