"""Study: which models, intervals and years the published evaluation is about, and the forecasts that it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.adaptive import adaptive
from ml.arrays import FloatArray
from ml.datasets import TARGETS, Panel, Target, label
from ml.garch import garch_volatility
from ml.intervals import LEVELS, calibrate, scores
from ml.models import COMBINED, FORECASTERS, forecasters
from ml.models.base import Forecaster
from ml.models.combination import Combination, combine
from ml.walk_forward import Store, folds, forecast, forecasts_frame

YEARS = range(2004, 2023)
RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]
LOOKBACK = 20
INTERVALS_FROM = 2006
"""Intervals learn from the forecasts of the two years before."""
MEAN, SCALE = "historical_mean", "combination"
"""What return intervals are around, and what scales them."""
ROLLING_YEARS = 8
ROLLING = ("historical_mean", "ridge", "har", "boosting", "random_forest", "dense", "lstm")
SEEDS = (1, 2)
SEEDED = ("random_forest", "dense", "lstm")
"""What the full evaluation adds: these models on the newest years alone, and these with other seeds."""


class Configuration(NamedTuple):
    """A model, the years of history that it learns from (None: all) and its seed; its column is `name`."""

    model: str
    window: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """`lstm`, `lstm_8_years` or `lstm_seed_1`."""
        window = f"_{self.window}_years" if self.window else ""
        return f"{self.model}{window}{f'_seed_{self.seed}' if self.seed else ''}"


def configurations(target: Target, full: bool) -> list[Configuration]:
    """What is evaluated of a target, in the order to do it."""
    models = list(FORECASTERS[target.kind])
    published = [Configuration(model) for model in models]
    if not full:
        return published
    rolling = [Configuration(model, window=ROLLING_YEARS) for model in models if model in ROLLING]
    seeded = [Configuration(model, seed=seed) for seed in SEEDS for model in models if model in SEEDED]
    return [*published, *rolling, *seeded]


def forecaster(target: Target, configuration: Configuration) -> Forecaster:
    """A forecaster that has not learned yet."""
    members = COMBINED if configuration.model == Combination.name else ()
    made = forecasters(target, [*members, configuration.model], seed=configuration.seed, lookback=LOOKBACK)
    return made[-1]


@dataclass(frozen=True)
class Study:
    """Forecasts of the walk-forward and intervals around them.

    `returns` and `volatilities` have a row a forecast (`ml.walk_forward.forecasts_frame`) with a column for each
    configuration; `return_bounds` and `volatility_bounds` have, for each method, bounds [rows from `INTERVALS_FROM` on,
    levels, 2].
    """

    returns: pd.DataFrame
    volatilities: pd.DataFrame
    return_bounds: Mapping[str, NDArray[np.float64]]
    volatility_bounds: Mapping[str, NDArray[np.float64]]
    full: bool


def study(features: pd.DataFrame, store: Store, *, full: bool = False, years: Sequence[int] = YEARS) -> Study:
    """Forecast every year with every model, then put intervals around the forecasts.

    Parameters
    ----------
    features : rows of `market/features` of the symbols to evaluate.
    full : see `configurations`.
    """
    panel = Panel.of(features.assign(garch_vol=garch_volatility(features)))
    volatilities, returns = (_forecasts(panel, target, years, store, full) for target in (VOLATILITY, RETURN))
    scale = returns[["symbol", "ts"]].merge(volatilities[["symbol", "ts", SCALE]], on=["symbol", "ts"], how="left")
    return Study(
        returns,
        volatilities,
        return_bounds(returns, scale[SCALE].to_numpy()),
        volatility_bounds(volatilities),
        full,
    )


def return_bounds(frame: pd.DataFrame, scale: FloatArray, mean: str = MEAN) -> dict[str, NDArray[np.float64]]:
    """Bounds [rows from `INTERVALS_FROM` on, levels, 2] around return forecasts, by method.

    The first method is unscaled and there for comparison: its width is the same in calm and in crisis.
    """
    centre = frame[mean].to_numpy()
    one = np.ones_like(scale)
    return {
        "split, unscaled": _split_bounds(frame, centre, one),
        "split, scaled": _split_bounds(frame, centre, scale),
        "adaptive, scaled": _adaptive_bounds(frame, centre, scale),
    }


def volatility_bounds(frame: pd.DataFrame, mean: str = SCALE) -> dict[str, NDArray[np.float64]]:
    """The same around volatility forecasts, as factors."""
    centre = frame[mean].to_numpy()
    return {"split": _split_bounds(frame, centre, None), "adaptive": _adaptive_bounds(frame, centre, None)}


def with_intervals(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Rows of a frame that have intervals."""
    return (frame["year"] >= INTERVALS_FROM).to_numpy()


def _forecasts(panel: Panel, target: Target, years: Sequence[int], store: Store, full: bool) -> pd.DataFrame:
    outcome = label(panel.frame, target)
    means: dict[str, FloatArray] = {}
    for configuration in configurations(target, full):
        if configuration.model == Combination.name:
            means[configuration.name] = combine([means[member] for member in COMBINED])
            continue
        cut = folds(panel, outcome, target, lookback=LOOKBACK, years=years, window=configuration.window)
        make = partial(forecaster, target, configuration)
        means[configuration.name] = forecast(panel, outcome, cut, make, store=store)
    return forecasts_frame(panel, target, means)


def _split_bounds(frame: pd.DataFrame, mean: FloatArray, scale: FloatArray | None) -> NDArray[np.float64]:
    """Split conformal, calibrated anew every year on all forecasts whose outcome was known before it."""
    outcome, known = frame["outcome"].to_numpy(), frame["known_at"].to_numpy()
    ts, year = frame["ts"].to_numpy("datetime64[us]"), frame["year"].to_numpy()
    bounds = np.full((len(frame), len(LEVELS), 2), np.nan)
    for one in np.unique(year[with_intervals(frame)]):
        rows = year == one
        past = known < ts[rows].min()
        state = calibrate(outcome[past], mean[past], None if scale is None else scale[past])
        bounds[rows] = state.intervals(mean[rows], None if scale is None else scale[rows])
    return bounds[with_intervals(frame)]


def _adaptive_bounds(frame: pd.DataFrame, mean: FloatArray, scale: FloatArray | None) -> NDArray[np.float64]:
    """Adaptive conformal inference, which learns from every outcome on the day that it becomes known."""
    q = adaptive(
        scores(frame["outcome"].to_numpy(), mean, scale),
        frame["symbol"].to_numpy(str),
        frame["ts"].to_numpy("datetime64[us]"),
        frame["known_at"].to_numpy("datetime64[us]"),
    )
    if scale is None:
        bounds = mean[:, None, None] * np.exp(np.stack([-q, q], axis=2))
    else:
        bounds = mean[:, None, None] + scale[:, None, None] * np.stack([-q, q], axis=2)
    return np.asarray(bounds[with_intervals(frame)], np.float64)
