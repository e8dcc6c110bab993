"""Intervals: split conformal prediction around a point forecast, scaled by the volatility forecast for returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray

LEVELS = (0.80, 0.90, 0.95)


@dataclass(frozen=True)
class Conformal:
    """Calibrated half-widths.

    additive: `mean ± q * scale`, where scale is a volatility forecast in the unit of the outcome (returns).
    multiplicative: `mean * exp(± q)`, that is additive on the log scale (volatilities).

    `scaled_by` names the registered volatility version whose forecasts were the scale of an additive calibration;
    None stands for the naive EWMA volatility. Other scales would void the coverage.
    """

    kind: Literal["additive", "multiplicative"]
    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    n: int
    scaled_by: tuple[str, str] | None = None

    def intervals(self, mean: FloatArray, scale: FloatArray | None = None) -> NDArray[np.float64]:
        """Bounds [N, levels, 2] around `mean` [N]; `scale` [N] is used by the additive kind only."""
        q = np.asarray(self.quantiles)
        if self.kind == "multiplicative":
            return mean[:, None, None] * np.exp(np.stack([-q, q], axis=1))[None]
        if scale is None:
            raise ValueError("additive intervals need the volatility forecast that they are scaled by")
        width = scale[:, None] * q[None]
        return np.stack([mean[:, None] - width, mean[:, None] + width], axis=2)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Conformal":
        """Inverse of `dataclasses.asdict` after a trip through JSON."""
        scaled_by = raw["scaled_by"]
        return cls(
            kind=raw["kind"],
            levels=tuple(raw["levels"]),
            quantiles=tuple(raw["quantiles"]),
            n=raw["n"],
            scaled_by=(scaled_by[0], scaled_by[1]) if scaled_by else None,
        )


def calibrate(
    outcome: FloatArray,
    mean: FloatArray,
    scale: FloatArray | None,
    *,
    levels: tuple[float, ...] = LEVELS,
    scaled_by: tuple[str, str] | None = None,
) -> Conformal:
    """Conformal state from forecasts on data that trained nothing.

    With a `scale` [N] the score is |outcome - mean| / scale; without one it is |log(outcome / mean)|.

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani, Wasserman (2018), Distribution-free predictive inference for regression.
    """
    if scale is None:
        scores = np.abs(np.log(outcome / mean))
        return Conformal("multiplicative", levels, tuple(quantile(scores, p) for p in levels), len(scores))
    scores = np.abs(outcome - mean) / scale
    return Conformal("additive", levels, tuple(quantile(scores, p) for p in levels), len(scores), scaled_by)


def quantile(scores: FloatArray, level: float) -> float:
    """The ceil((n + 1) * level)-th smallest score: covers a new exchangeable score with probability >= level.

    Raises
    ------
    ValueError
        If there are too few scores for the level (no finite interval has the coverage).
    """
    n = len(scores)
    rank = int(np.ceil(np.round((n + 1) * level, 9)))
    if rank > n:
        raise ValueError(f"a level of {level:.0%} needs more than {n} calibration forecasts")
    return float(np.partition(scores, rank - 1)[rank - 1])


def coverage(outcome: FloatArray, bounds: NDArray[np.float64]) -> FloatArray:
    """Share of outcomes [N] inside bounds [N, levels, 2], per level."""
    return ((outcome[:, None] >= bounds[:, :, 0]) & (outcome[:, None] <= bounds[:, :, 1])).mean(axis=0)
