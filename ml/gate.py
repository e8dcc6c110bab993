"""Gate: which version of a target deserves the alias `champion`, decided on held-out time and said in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.evaluation import bootstrap_difference, loss
from ml.training import Candidate, TrainingResult

PARITY = 1e-5
COVERAGE_TOLERANCE = 0.10
"""Allowed distance of the 90 % interval's held-out coverage from 90 %: catches a broken calibration, not a regime."""


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
    outcome, ts = result.test["outcome"].to_numpy(), result.test["ts"].to_numpy("datetime64[us]")
    difference = loss(result.target, outcome, challenger.test_mean) - loss(result.target, outcome, baseline.test_mean)
    mean, lower, upper = bootstrap_difference(difference, ts, seed=result.seed)
    edge = upper < 0
    faults = {c.model: _faults(c) for c in (challenger, baseline)}
    winner = challenger if edge and not faults[challenger.model] else baseline
    gain = -mean / baseline.metrics["test"]["loss"]
    reason = (
        f"{challenger.model} changes the loss of {baseline.model} by {-gain:+.2%} on {len(difference)} held-out "
        f"forecasts (difference {mean:.3g}, 95 % interval {lower:.3g} to {upper:.3g}): "
        + ("a credible edge" if edge else "no credible edge, so the naive forecast is the champion")
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


def _faults(candidate: Candidate) -> list[str]:
    found = []
    if not np.isfinite(candidate.test_mean).all():
        found.append("some forecasts are not finite")
    if not candidate.parity <= PARITY:
        found.append(f"ONNX differs from the trained model by {candidate.parity:.1e} (allowed {PARITY:.0e})")
    covered = candidate.metrics["test"]["coverage_90"]
    if not abs(covered - 0.90) <= COVERAGE_TOLERANCE:
        found.append(f"its 90 % interval covers {covered:.1%}")
    return found
