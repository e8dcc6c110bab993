"""Deployments: which registered versions forecast, and in what role."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lake.store import Lake
from ml.artifact import LoadedModel
from ml.datasets import TARGETS
from ml.interval_state import IntervalState, states
from ml.registry import CHALLENGER, CHAMPION, Registry


@dataclass(frozen=True)
class Deployment:
    """A registered version that forecasts, in a role (champion or challenger).

    Attributes
    ----------
    unseen_from : first session that it neither learned from nor was calibrated on.
    scale_model : the version that `model.conformal.scaled_by` names; None where that is None.
    states : how its intervals have adapted since, oldest first.

    Raises
    ------
    ValueError
        If the scale is not the one that the intervals were calibrated with.
    """

    model: LoadedModel
    role: str
    unseen_from: datetime
    scale_model: LoadedModel | None = None
    states: Sequence[IntervalState] = ()

    def __post_init__(self) -> None:
        given = (self.scale_model.name, self.scale_model.version) if self.scale_model else None
        if given != self.model.conformal.scaled_by:
            raise ValueError(
                f"intervals of {self.model.name} version {self.model.version} are scaled by "
                f"{self.model.conformal.scaled_by}, not by {given}"
            )

    @property
    def lookback(self) -> int:
        """Sessions that a forecast with its interval needs."""
        return max(self.model.lookback, self.scale_model.lookback if self.scale_model else 1)


def deployments(lake: Lake, registry: Registry) -> list[Deployment]:
    """The champion of every target, and its challenger where a person has let it forecast.

    Raises
    ------
    LookupError
        If a target has no champion yet.
    """
    found = []
    for target in TARGETS:
        champion = registry.champion(target)
        if champion is None:
            raise LookupError(f"no champion of {target}; materialise models/{target}_champion first")
        found.append(_deployment(lake, registry, champion, CHAMPION))
        challenger = registry.challenger(target) if registry.challenger_share(target) is not None else None
        if challenger is not None and challenger.version != champion.version:
            found.append(_deployment(lake, registry, challenger, CHALLENGER))
    return found


def _deployment(lake: Lake, registry: Registry, model: LoadedModel, role: str) -> Deployment:
    scaled_by = model.conformal.scaled_by
    scale = registry.load(*scaled_by) if scaled_by else None
    return Deployment(
        model,
        role,
        max(registry.unseen_from(m.name, m.version) for m in (model, scale) if m is not None),
        scale,
        states(lake, model.name, model.version),
    )
