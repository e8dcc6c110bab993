"""Intervals: split conformal prediction around a point forecast or around forecast quantiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.arrays import FloatArray

LEVELS = (0.80, 0.90, 0.95)

GRID = np.arange(1, 100) / 100
"""Levels at which the quantile function of the calibration scores is kept."""


@dataclass(frozen=True)
class Conformal:
    """Calibrated half-widths: the quantile function `curve` of the calibration scores, at the levels `GRID`.

    additive: `mean ± q * scale`, where scale is a volatility forecast in the unit of the outcome (returns).
    multiplicative: `mean * exp(± q)`, that is additive on the log scale (volatilities).

    `scaled_by` names the registered volatility version whose forecasts were the scale of an additive calibration;
    None stands for the naive EWMA volatility. Other scales would void the coverage.
    """

    kind: Literal["additive", "multiplicative"]
    levels: tuple[float, ...]
    curve: tuple[float, ...]
    n: int
    scaled_by: tuple[str, str] | None = None

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Half-width of each level."""
        return tuple(float(q) for q in self.at(np.asarray(self.levels)))

    def at(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half-width of any level, linear between those of the grid and constant outside."""
        return np.interp(levels, GRID, self.curve)

    def intervals(
        self, mean: FloatArray, scale: FloatArray | None = None, quantiles: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Bounds [N, levels, 2] around `mean` [N].

        Parameters
        ----------
        scale : volatility forecasts [N]; used by the additive kind only.
        quantiles : half-widths [N, levels], where they have adapted; those of the calibration otherwise.
        """
        q = np.asarray(self.quantiles)[None] if quantiles is None else quantiles
        if self.kind == "multiplicative":
            return mean[:, None, None] * np.exp(np.stack([-q, q], axis=2))
        if scale is None:
            raise ValueError("additive intervals need the volatility forecast that they are scaled by")
        width = scale[:, None] * q
        return np.stack([mean[:, None] - width, mean[:, None] + width], axis=2)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Conformal":
        """Inverse of `dataclasses.asdict` after a trip through JSON."""
        scaled_by = raw["scaled_by"]
        return cls(
            kind=raw["kind"],
            levels=tuple(raw["levels"]),
            curve=tuple(raw["curve"]),
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

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani, Wasserman (2018), Distribution-free predictive inference for regression.

    Raises
    ------
    ValueError
        If there are too few forecasts for the highest level.
    """
    found = scores(outcome, mean, scale)
    quantile(found, max(levels))
    kind: Literal["additive", "multiplicative"] = "multiplicative" if scale is None else "additive"
    return Conformal(kind, levels, tuple(curve(found).tolist()), len(found), scaled_by if scale is not None else None)


def scores(outcome: FloatArray, mean: FloatArray, scale: FloatArray | None) -> FloatArray:
    """Conformal scores [N]: |outcome - mean| / scale with a `scale` [N], |log(outcome / mean)| without one."""
    return np.abs(np.log(outcome / mean)) if scale is None else np.abs(outcome - mean) / scale


def curve(scores: FloatArray) -> NDArray[np.float64]:
    """Conformal quantile of the scores at each level of `GRID`; the largest score where there are too few."""
    ranks = np.ceil(np.round((len(scores) + 1) * GRID, 9)).astype(int)
    return np.sort(scores)[np.minimum(ranks, len(scores)) - 1].astype(np.float64)


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


def quantile_scores(outcome: FloatArray, bounds: NDArray[np.float64], scale: FloatArray) -> NDArray[np.float64]:
    """Scores [N, levels] of conformalised quantile regression: how far outside forecast quantiles an outcome lies.

    Parameters
    ----------
    bounds : forecasts of the quantiles (1 - level) / 2 and (1 + level) / 2, [N, levels, 2].
    scale : volatility forecasts [N]; ones give the original method.

    Returns
    -------
    max(lower - outcome, outcome - upper) / scale; negative inside. Each level has scores of its own, so calibrate
    each by itself: `quantile(scores[:, j], levels[j])`, or `adaptive(scores[:, j], ..., levels=(levels[j],))`.

    References
    ----------
    Romano, Patterson, Candes (2019), Conformalized quantile regression, equation 6.
    """
    outside = np.maximum(bounds[:, :, 0] - outcome[:, None], outcome[:, None] - bounds[:, :, 1])
    return outside / scale[:, None]


def conformalised(
    bounds: NDArray[np.float64], quantiles: NDArray[np.float64], scale: FloatArray
) -> NDArray[np.float64]:
    """Forecast quantiles [N, levels, 2], moved outwards by `quantiles` [levels] or [N, levels] of their scores.

    Where the correction is so negative that the bounds would cross, both are their middle.
    """
    moved = np.broadcast_to(quantiles, bounds.shape[:2]) * scale[:, None]
    moved = np.maximum(moved, -(bounds[:, :, 1] - bounds[:, :, 0]) / 2)
    return bounds + np.stack([-moved, moved], axis=2)
