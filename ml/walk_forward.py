"""Walk-forward: every year forecast by models that have learned from what was known before it, and nothing else."""

import hashlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.arrays import FloatArray, RowIndex
from ml.datasets import EMBARGO, Panel, Target, known_at, label
from ml.models.base import Forecaster, Sample

logger = logging.getLogger(__name__)

VALIDATION = 0.2
"""Newest share of the sessions before a year that stops and calibrates, but does not teach."""
MARKET_VOLATILITY = "market_log_vol_20"
REGIMES = ("calm", "normal", "stressed")
REGIME_EDGES = (0.5, 0.9)
"""Ranks of the market's volatility among all sessions so far, where normal and stressed begin."""


@dataclass(frozen=True)
class Fold:
    """Rows of a panel: a year of forecasts, and the two parts of the past that a model for this year may know."""

    year: int
    train: RowIndex
    validation: RowIndex
    test: RowIndex


def folds(
    panel: Panel,
    outcome: FloatArray,
    target: Target,
    *,
    lookback: int,
    years: Iterable[int],
    window: int | None = None,
) -> Iterator[Fold]:
    """A fold a year, with a purge and an embargo before the validation and before the year itself.

    Purge: a row teaches only if its outcome is known before the next part begins. Embargo: `EMBARGO` sessions earlier.

    Parameters
    ----------
    lookback : sessions of history that a row needs, that of the model that needs most.
    window : years of history that a fold learns from (a rolling window); None for all there are (an expanding one).

    Raises
    ------
    ValueError
        If a year has no forecasts, or no past to learn from.
    """
    ts = panel.frame["ts"].to_numpy("datetime64[us]")
    known = known_at(panel.frame, target)
    rows = panel.rows(lookback)
    rows = rows[np.isfinite(outcome[rows])]
    sessions = np.unique(ts[rows])

    def before(first: int) -> RowIndex:
        """Rows whose outcome is known `EMBARGO` sessions before the session number `first`."""
        return rows[known[rows] < sessions[max(first - EMBARGO, 0)]]

    for year in years:
        start, end = (np.datetime64(f"{y}-01-01", "us") for y in (year, year + 1))
        test = rows[(ts[rows] >= start) & (ts[rows] < end)]
        past = before(int(np.searchsorted(sessions, start)))
        if window is not None:
            past = past[ts[past] >= np.datetime64(f"{year - window}-01-01", "us")]
        learned = np.unique(ts[past])
        if not len(test) or len(learned) < 5 * EMBARGO:
            raise ValueError(f"{year} has {len(test)} forecasts and {len(learned)} sessions to learn from")
        first = int(np.searchsorted(sessions, learned[int(len(learned) * (1 - VALIDATION))]))
        train = np.intersect1d(past, before(first), assume_unique=True)
        yield Fold(year, train, past[ts[past] >= sessions[first]], test)


def forecast(
    panel: Panel,
    outcome: FloatArray,
    years: Iterable[Fold],
    make: Callable[[], Forecaster],
    *,
    store: "Store | None" = None,
) -> FloatArray:
    """Forecasts of a model that is fitted anew for every fold; NaN at the rows that no fold forecasts.

    Parameters
    ----------
    make : gives a model that has not learned yet.
    store : keeps the forecasts of each fold, so that an evaluation that was stopped goes on where it was.

    Returns
    -------
    float64 [rows of the panel].
    """
    mean = np.full(len(panel.frame), np.nan)
    for fold in years:
        model = make()
        key = fingerprint(panel, outcome, fold, model) if store else ""
        stored = store.get(key) if store else None
        if stored is None:
            logger.info("%s, %s: learns for %d from %d rows", model.target.name, model.name, fold.year, len(fold.train))
            train, validation = (
                Sample(panel.view(rows, model.inputs, model.lookback), outcome[rows])
                for rows in (fold.train, fold.validation)
            )
            model.fit(train, validation)
            stored = model.predict(panel.view(fold.test, model.inputs, model.lookback))
            if store:
                store.put(key, stored)
        mean[fold.test] = stored
    return mean


def fingerprint(panel: Panel, outcome: FloatArray, fold: Fold, model: Forecaster) -> str:
    """Hash of what the forecasts of a fold follow from: rows and outcomes, parameters and code of the model.

    Later sessions are no part of it, so a new day in the lake leaves the past years as they are.
    """
    digest = hashlib.sha256()
    ts = panel.frame["ts"].to_numpy("datetime64[us]")
    columns = [panel.columns.index(name) for name in model.inputs]
    digest.update(panel.values[ts <= ts[fold.test].max()][:, columns].tobytes())
    for rows in (fold.train, fold.validation, fold.test):
        digest.update(ts[rows].tobytes())
    for rows in (fold.train, fold.validation):
        digest.update(outcome[rows].tobytes())
    digest.update(identity(model).encode())
    return digest.hexdigest()


def identity(model: Forecaster) -> str:
    """Hash of the parameters and of the code of a model that has not learned yet."""
    members = getattr(model, "members", ())
    parameters = {name: value for name, value in sorted(vars(model).items()) if name != "members"}
    code = (inspect.getsource(sys.modules[name]) for name in _modules(model))
    parts = (model.name, repr(parameters), *map(identity, members), *code)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _modules(model: Forecaster) -> list[str]:
    """The module of a model, and those of `ml.models` that it takes anything from."""
    found: set[str] = set()
    new = {type(model).__module__}
    while new:
        found |= new
        members = (value for name in new for value in vars(sys.modules[name]).values())
        new = {getattr(value, "__module__", None) or "" for value in members} - found
        new = {name for name in new if name.startswith("ml.models.")}
    return sorted(found)


class Store:
    """Forecasts of folds by fingerprint, one file each, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> FloatArray | None:
        """The forecasts of a fold; None if they are not there."""
        path = self.folder / f"{key}.npy"
        return np.load(path) if path.exists() else None

    def put(self, key: str, forecasts: FloatArray) -> None:
        """Keep the forecasts of a fold; a file is there whole or not at all."""
        unfinished = self.folder / f"{key}.{os.getpid()}.tmp"
        with unfinished.open("wb") as file:
            np.save(file, forecasts)
        unfinished.replace(self.folder / f"{key}.npy")


def forecasts_frame(panel: Panel, target: Target, means: Mapping[str, FloatArray]) -> pd.DataFrame:
    """Forecasts of models side by side, beside what happened.

    Returns
    -------
    A row a forecast, sorted by symbol, then session: symbol, ts, year, regime, known_at, outcome, naive_volatility and
    a column for each model.
    """
    rows = np.flatnonzero(np.all([np.isfinite(mean) for mean in means.values()], axis=0))
    frame = panel.frame.loc[rows, ["symbol", "ts"]].reset_index(drop=True)
    return frame.assign(
        year=frame["ts"].dt.year,
        regime=regimes(panel.frame)[rows],
        known_at=known_at(panel.frame, target)[rows],
        outcome=label(panel.frame, target)[rows],
        naive_volatility=panel.naive_volatility(rows, target.horizon),
        **{name: mean[rows] for name, mean in means.items()},
    )


def regimes(frame: pd.DataFrame) -> NDArray[np.object_]:
    """Regime of each row: where the market's volatility of the last 20 sessions ranks among all sessions so far.

    Parameters
    ----------
    frame : columns `ts` and `market_log_vol_20`; the market's value is the same for all symbols of a session.
    """
    market = frame.groupby("ts")[MARKET_VOLATILITY].first()
    rank = market.expanding().rank(pct=True)
    names = pd.Series(np.asarray(REGIMES, object)[np.digitize(rank.to_numpy(), REGIME_EDGES)], market.index)
    return frame["ts"].map(names).to_numpy(object)
