"""Datasets: market features in; labels, look-back windows and a time-ordered split with purge and embargo out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ml.arrays import FloatArray, RowIndex, WindowView
from ml.contract import NAIVE_VOLATILITY, VOLATILITY_FLOOR, naive_volatility

FEATURES = (
    "log_return_1",
    "log_return_5",
    "log_return_20",
    "scaled_return_1",
    "scaled_return_5",
    "scaled_return_20",
    "log_ewma_vol",
    "log_vol_5",
    "log_vol_20",
    "log_vol_60",
    "rsi_14_centered",
    "macd_hist_scaled",
    "bb_percent_b_20",
    "bb_bandwidth_20",
    "close_to_sma_20",
    "close_to_sma_50",
    "close_to_sma_200",
    "drawdown_252",
    "market_scaled_return_1",
    "market_scaled_return_5",
    "market_log_ewma_vol",
    "market_log_vol_20",
)
"""Columns of `market/features` that learned models see, in the order of their input tensor."""

GARCH_VOLATILITY = "garch_vol"
"""Daily volatility of a GJR-GARCH, averaged over the horizon: a column beside the features where a model reads it."""

PARTS = ("train", "validation", "calibration", "test")
FRACTIONS = (0.60, 0.15, 0.10, 0.15)
EMBARGO = 10
"""Sessions left out at the start of every later part, on top of the purge."""
MIN_ROWS = {"train": 200, "validation": 50, "calibration": 50, "test": 50}


@dataclass(frozen=True)
class Target:
    """What is forecast: a log return, or a realised volatility (not annualised), over the next `horizon` sessions."""

    name: str
    kind: Literal["return", "volatility"]
    horizon: int


TARGETS = {t.name: t for t in (Target("return_5d", "return", 5), Target("volatility_5d", "volatility", 5))}


def label(frame: pd.DataFrame, target: Target) -> FloatArray:
    """Outcome of each row: what happened over the `target.horizon` sessions of the same symbol after it.

    Parameters
    ----------
    frame : columns `symbol`, `ts`, `close`; sorted by symbol, then ts.

    Returns
    -------
    float64 [rows]; NaN where the outcome is not known yet (the last `horizon` rows of each symbol).

    Raises
    ------
    ValueError
        If the rows are not sorted.
    """
    symbols = _sorted_symbols(frame)
    h = target.horizon
    outcome = np.full(len(frame), np.nan)
    if len(frame) <= h:
        return outcome
    log_close = np.log(frame["close"].to_numpy(np.float64))
    same_symbol = symbols[h:] == symbols[:-h]
    if target.kind == "return":
        future = log_close[h:] - log_close[:-h]
    else:
        squares = np.diff(log_close) ** 2
        future = np.maximum(np.sqrt(sliding_window_view(squares, h).sum(axis=1)), VOLATILITY_FLOOR)
    outcome[:-h] = np.where(same_symbol, future, np.nan)
    return outcome


def known_at(frame: pd.DataFrame, target: Target) -> NDArray[np.datetime64]:
    """Session at which the outcome of each row is known; NaT, or of another symbol, where `label` has none."""
    ts = frame["ts"].to_numpy("datetime64[us]")
    known = np.full(len(ts), np.datetime64("NaT", "us"))
    known[: -target.horizon] = ts[target.horizon :]
    return known


@dataclass(frozen=True)
class Panel:
    """All symbols below each other, sorted by symbol and session, as one float32 matrix that windows are cut from.

    `run[i]` counts the consecutive rows without a null that end at row i within its symbol, so a window of
    `lookback` rows ends at row i exactly when `run[i] >= lookback`.
    """

    frame: pd.DataFrame
    columns: tuple[str, ...]
    values: NDArray[np.float32]
    run: NDArray[np.int64]

    @classmethod
    def of(cls, features: pd.DataFrame) -> "Panel":
        """Daily rows of `market/features` as a panel, with the column `garch_vol` where it was added to them.

        Raises ValueError naming the columns that are missing.
        """
        columns: tuple[str, ...] = (*FEATURES, NAIVE_VOLATILITY)
        missing = [c for c in ("symbol", "interval", "ts", "close", *columns) if c not in features.columns]
        if missing:
            raise ValueError(f"market/features lacks the columns {', '.join(missing)}")
        if GARCH_VOLATILITY in features.columns:
            columns = (*columns, GARCH_VOLATILITY)
        frame = features.loc[features["interval"] == "1d"].sort_values(["symbol", "ts"], ignore_index=True)
        values = frame[list(columns)].to_numpy(np.float32)
        usable = np.isfinite(values).all(axis=1)
        symbols = frame["symbol"].to_numpy(object)
        new_symbol = np.r_[True, symbols[1:] != symbols[:-1]]
        position = np.arange(len(frame))
        reset = np.where(~usable, position, np.where(new_symbol[: len(frame)], position - 1, -1))
        return cls(frame, columns, values, position - np.maximum.accumulate(reset))

    def rows(self, lookback: int) -> RowIndex:
        """Rows at which a window of `lookback` sessions may end."""
        return np.flatnonzero(self.run >= lookback)

    def view(self, rows: RowIndex, inputs: Sequence[str], lookback: int) -> WindowView:
        """Windows that end at `rows`, oldest session first, not cut yet."""
        if (self.run[rows] < lookback).any():
            raise ValueError(f"a window of {lookback} sessions does not fit before every row asked for")
        if missing := [name for name in inputs if name not in self.columns]:
            raise ValueError(f"the features lack the columns {', '.join(missing)}")
        return WindowView(self.values[:, [self.columns.index(name) for name in inputs]], rows, lookback)

    def windows(self, rows: RowIndex, inputs: Sequence[str], lookback: int) -> NDArray[np.float32]:
        """The same as one array: float32 [len(rows), lookback, len(inputs)]."""
        return self.view(rows, inputs, lookback)[:]

    def naive_volatility(self, rows: RowIndex, horizon: int) -> FloatArray:
        """EWMA volatility at `rows`, scaled to `horizon` sessions."""
        return naive_volatility(self.values[rows, self.columns.index(NAIVE_VOLATILITY)], horizon)


@dataclass(frozen=True)
class Split:
    """Rows of a panel by part of time, and the first and last session of each part (ISO dates)."""

    rows: dict[str, RowIndex]
    dates: dict[str, tuple[str, str]]


def split(panel: Panel, outcome: FloatArray, target: Target, lookback: int) -> Split:
    """Cut labelled rows into train, validation, calibration and test, in this order of time.

    Boundaries are sessions: `FRACTIONS` of the distinct sessions that have a usable, labelled row. Purge: a row whose
    outcome reaches into the next part is dropped. Embargo: the first `EMBARGO` sessions of a later part are dropped.

    References
    ----------
    Lopez de Prado, Advances in Financial Machine Learning (2018), section 7.4.

    Raises
    ------
    ValueError
        If a part has too few rows; the message says which, and how many it needs.
    """
    ts = panel.frame["ts"].to_numpy("datetime64[us]")
    rows = panel.rows(lookback)
    rows = rows[np.isfinite(outcome[rows])]
    sessions = np.unique(ts[rows])
    edges = np.floor(np.cumsum((0.0, *FRACTIONS)) * len(sessions) + 1e-9).astype(int)
    known = known_at(panel.frame, target)
    parts: dict[str, RowIndex] = {}
    dates: dict[str, tuple[str, str]] = {}
    for i, part in enumerate(PARTS):
        first = edges[i] + (EMBARGO if i else 0)
        inside = rows[:0]
        if first < edges[i + 1]:
            inside = rows[(ts[rows] >= sessions[first]) & (ts[rows] <= sessions[edges[i + 1] - 1])]
            if i + 1 < len(PARTS):
                inside = inside[known[inside] < sessions[edges[i + 1]]]
        if len(inside) < MIN_ROWS[part]:
            raise ValueError(
                f"{target.name} needs at least {MIN_ROWS[part]} {part} rows and has {len(inside)}: "
                f"{panel.frame['symbol'].nunique()} symbols give {len(rows)} usable rows in {len(sessions)} sessions "
                f"(a usable row has all {len(panel.columns)} features over {lookback} sessions and a known outcome). "
                "Add symbols or longer histories to the universe."
            )
        parts[part] = inside
        dates[part] = (_iso(ts[inside].min()), _iso(ts[inside].max()))
    return Split(parts, dates)


def _sorted_symbols(frame: pd.DataFrame) -> NDArray[np.object_]:
    symbols = frame["symbol"].to_numpy(object)
    ts = frame["ts"].to_numpy("datetime64[us]")
    later = (symbols[1:] > symbols[:-1]) | ((symbols[1:] == symbols[:-1]) & (ts[1:] > ts[:-1]))
    if not later.all():
        raise ValueError("rows must be sorted by symbol, then ts, without duplicates")
    return symbols


def _iso(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[D]"))
