"""Gate: which version of a target deserves the alias `champion`, decided on held-out time and said in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.evaluation import bootstrap_difference, loss
from ml.training import Candidate, TrainingResult

PARITY = 1e-5
LEVEL, TOLERANCE = 0.90, 0.10
"""The interval whose held-out coverage is looked at, and how far from its level it may credibly be."""


@dataclass(frozen=True)
class Decision:
    """`winner` is the candidate's name; `passed` says that it is sound enough to serve; `edge` that it is a learned
    model whose loss on held-out time is lower than the naive one's, with a 95 % interval that excludes no difference.
    """

    target: str
    winner: str
    learned: bool
    edge: bool
    passed: bool
    reason: str
    numbers: Mapping[str, float]


def decide(result: TrainingResult) -> Decision:
    """The learned challenger wins where it is credibly better than the naive baseline; otherwise the baseline does.

    The test is a circular block bootstrap of the difference in loss (squared error for returns, QLIKE for
    volatilities) over the sessions of the test period, which neither fitted nor selected anything. Being lower by
    luck is not enough: the 95 % interval of the difference has to exclude zero.
    """
    challenger, baseline = result.challenger, result.baseline
    outcome, ts = _outcome(result), _sessions(result)
    difference = loss(result.target, outcome, challenger.test_mean) - loss(result.target, outcome, baseline.test_mean)
    mean, lower, upper = bootstrap_difference(difference, ts, seed=result.seed)
    edge = upper < 0
    faults = {c.model: _faults(c, result) for c in (challenger, baseline)}
    winner = challenger if edge and not faults[challenger.model] else baseline
    gain = -mean / baseline.metrics["test"]["loss"]
    reason = (
        f"the loss of {challenger.model} is {abs(gain):.1%} {'lower' if gain > 0 else 'higher'} than that of "
        f"{baseline.model} on {len(difference)} held-out forecasts (difference {mean:.3g}, 95% interval {lower:.3g} to "
        f"{upper:.3g}): " + ("a credible edge" if edge else "no credible edge, so the naive forecast is the champion")
    )
    for name, found in faults.items():
        if found:
            reason += f"; {name} is unsound: {', '.join(found)}"
    return Decision(
        target=result.target.name,
        winner=winner.model,
        learned=winner.learned,
        edge=edge,
        passed=not faults[winner.model],
        reason=reason,
        numbers={
            "loss_difference": mean,
            "loss_difference_lower": lower,
            "loss_difference_upper": upper,
            "loss_gain": gain,
            "winner_parity": winner.parity,
            "winner_coverage_90": winner.metrics["test"]["coverage_90"],
        },
    )


def _faults(candidate: Candidate, result: TrainingResult) -> list[str]:
    """What makes a candidate unfit to serve, in words. A short test period says little about coverage, and its
    bootstrap interval is wide: only a coverage that is credibly off counts.
    """
    found = []
    if not np.isfinite(candidate.test_mean).all():
        found.append("some forecasts are not finite")
    if not candidate.parity <= PARITY:
        found.append(f"ONNX differs from the trained model by {candidate.parity:.1e} (allowed {PARITY:.0e})")
    bounds = candidate.test_bounds[:, candidate.contract.conformal.levels.index(LEVEL)]
    outcome = _outcome(result)
    inside = ((outcome >= bounds[:, 0]) & (outcome <= bounds[:, 1])).astype(np.float64)
    covered, lower, upper = bootstrap_difference(inside, _sessions(result), seed=result.seed)
    if upper < LEVEL - TOLERANCE or lower > LEVEL + TOLERANCE:
        found.append(f"its {LEVEL:.0%} interval covers {covered:.1%} (95 % interval {lower:.1%} to {upper:.1%})")
    return found


def _outcome(result: TrainingResult) -> FloatArray:
    return result.test["outcome"].to_numpy(np.float64)


def _sessions(result: TrainingResult) -> NDArray[np.datetime64]:
    return result.test["ts"].to_numpy("datetime64[us]")
