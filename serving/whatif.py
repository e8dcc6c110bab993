"""What-if: posted or stored features become windows, and windows become forecasts with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray
from ml.contract import NAIVE_VOLATILITY, Contract, naive_volatility
from serving.vault import Model

Errors = dict[str, str]
"""What is wrong, by the name of the feature."""


@dataclass(frozen=True)
class Answering:
    """A version, and what scales its intervals: another version, or (None) the naive volatility.

    Attributes
    ----------
    horizon : sessions that it looks ahead.
    """

    model: Model
    scale: Model | None
    horizon: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Features that a window needs: those of the model, then those of its scale."""
        return tuple(dict.fromkeys((*self.model.contract.inputs, *self._scale_inputs)))

    @property
    def lookback(self) -> int:
        """Sessions that a window needs."""
        return max(self.model.contract.lookback, self.scale.contract.lookback if self.scale else 1)

    def posted(self, features: Mapping[str, Sequence[float]]) -> tuple[NDArray[np.float32], Errors]:
        """A window [lookback, columns] of values by name, oldest session first; or what keeps it from being one."""
        columns, sessions = self.columns, self.lookback
        errors = {name: "is missing" for name in columns if name not in features}
        for name, values in features.items():
            if name not in columns:
                errors[name] = "is no input of this model"
            elif len(values) != sessions:
                errors[name] = f"needs {sessions} values, oldest session first, and has {len(values)}"
        if errors:
            return np.empty((0, 0), np.float32), errors
        with np.errstate(over="ignore"):  # named by `outside`
            return np.array([features[name] for name in columns], np.float32).T, {}

    def shocked(self, window: NDArray[np.float32], shocks: Mapping[str, float]) -> tuple[NDArray[np.float32], Errors]:
        """A window to whose newest session shocks are added; or which of them have no feature."""
        columns, changed = self.columns, window.copy()
        with np.errstate(over="ignore"):
            for name, shock in shocks.items():
                if name in columns:
                    changed[-1, columns.index(name)] += np.float32(shock)
        return changed, {name: "is no input of this model" for name in shocks if name not in columns}

    def outside(self, window: NDArray[np.float32]) -> Errors:
        """Features with a value that no window of the training data had."""
        scale = self.scale.contract.ranges if self.scale else {}
        ranges, found = {**scale, **self.model.contract.ranges}, {}
        for name, low, high in zip(self.columns, window.min(axis=0), window.max(axis=0), strict=True):
            least, most = ranges.get(name, (-np.inf, np.inf))
            if low < least or high > most or not np.isfinite((low, high)).all():
                worst = low if low < least else high
                found[name] = f"{worst:.6g} is outside of what the model was trained on, {least:.6g} to {most:.6g}"
        return found

    def answer(self, windows: NDArray[np.float32]) -> tuple[FloatArray, NDArray[np.float64]]:
        """Means [N] and bounds [N, levels, 2] of windows [N, lookback, columns]."""
        contract, scale = self.model.contract, None
        mean = self.model.predict(self._cut(windows, contract))
        if contract.conformal.kind == "additive" and self.scale:
            scale = self.scale.predict(self._cut(windows, self.scale.contract))
        elif contract.conformal.kind == "additive":
            scale = naive_volatility(windows[:, -1, self.columns.index(NAIVE_VOLATILITY)], self.horizon)
        return mean, contract.conformal.intervals(mean, scale)

    @property
    def _scale_inputs(self) -> tuple[str, ...]:
        if self.model.contract.conformal.kind == "multiplicative":
            return ()
        return self.scale.contract.inputs if self.scale else (NAIVE_VOLATILITY,)

    def _cut(self, windows: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
        columns = [self.columns.index(name) for name in contract.inputs]
        return np.ascontiguousarray(windows[:, -contract.lookback :, columns])
