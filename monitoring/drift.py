"""Has the market left the range of its own past? Distances between windows, and thresholds learnt from them.

Ready-made drift tests assume independent rows. Twenty stocks on twenty-one days are about twenty-one independent
observations, so on market features such tests raise an alarm every month. Here the newest month is compared with
the year before it, and the result is held against the same comparison made for every month of the past.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MONITORS = (
    "log_return_1",
    "log_return_5",
    "log_return_20",
    "scaled_return_1",
    "scaled_return_5",
    "scaled_return_20",
    "log_vol_5",
)
"""The watched columns: level-free and quick to forget, so that two windows are as independent as prices allow."""

COLUMNS = ("symbol", "ts", *MONITORS)
"""What `data_drift` needs of `market/features`."""

CURRENT, REFERENCE = 21, 252  # sessions: the newest month against the year before it
STEP = 5  # sessions between the past windows that the thresholds are learnt from
QUANTILE = 0.99
MIN_HISTORY = 100  # past windows; with fewer a 99 % quantile is a guess, and no alarm is raised
MAX_ROWS = 50_000  # per window
ALIVE = 0.9  # a series belongs to a window if it has this share of its sessions, before and after
COMPARABLE = 0.5  # past windows count with this share of today's series: a few series scatter more than many
QUORUM = 0.5  # a date is a session of the panel if this share of the usual number of series traded


class NotEnoughHistoryError(ValueError):
    """The features do not reach back far enough for one current and one reference window."""


@dataclass(frozen=True)
class Monitor:
    """One watched column: its distance, and the distance that one past window in a hundred exceeded."""

    column: str
    distance: float
    threshold: float | None
    """None while the history is too short to know."""

    @property
    def exceedance(self) -> float:
        """Distance as a multiple of the threshold; 0 without a threshold."""
        return self.distance / self.threshold if self.threshold else 0.0

    @property
    def drifted(self) -> bool:
        """Whether the distance reaches the threshold."""
        return self.exceedance >= 1.0


@dataclass(frozen=True)
class DriftReport:
    """The newest window held against the past."""

    monitors: tuple[Monitor, ...]
    symbols: tuple[str, ...]
    """The series alive in both windows; the others are left out, or a new listing would look like drift."""
    current_span: tuple[pd.Timestamp, pd.Timestamp]
    reference_span: tuple[pd.Timestamp, pd.Timestamp]
    current: pd.DataFrame = field(repr=False)
    """(rows <= MAX_ROWS, monitors)"""
    reference: pd.DataFrame = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    """(past windows, monitors): distances by the last session of each past window, oldest first."""

    @property
    def worst(self) -> Monitor:
        """The monitor with the largest exceedance."""
        return max(self.monitors, key=lambda m: m.exceedance)

    @property
    def alarm(self) -> bool:
        """One alarm for the whole panel, on the largest exceedance."""
        return self.worst.drifted

    @property
    def calibrated(self) -> bool:
        """Whether the past is long enough for thresholds."""
        return all(m.threshold is not None for m in self.monitors)

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns at or above their threshold."""
        return tuple(m.column for m in self.monitors if m.drifted)

    @property
    def share(self) -> float:
        """Drifted columns as a share of the watched ones."""
        return len(self.drifted) / len(self.monitors)

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        if not self.calibrated:
            return f"No thresholds yet: {len(self.history)} past windows of the {MIN_HISTORY} that are needed."
        verdict = "ALARM" if self.alarm else "no alarm"
        span = " to ".join(f"{day:%Y-%m-%d}" for day in self.current_span)
        return (
            f"{span}: {verdict}. Largest distance: {self.worst.column} at {self.worst.exceedance:.0%} of its "
            f"threshold, which {1 - QUANTILE:.0%} of {len(self.history)} past windows exceeded."
        )

    def document(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "summary": self.summary,
            "alarm": self.alarm,
            "calibrated": self.calibrated,
            "share": self.share,
            "drifted": list(self.drifted),
            "monitors": [
                {"column": m.column, "distance": m.distance, "threshold": m.threshold, "drifted": m.drifted}
                for m in self.monitors
            ],
            "symbols": list(self.symbols),
            "current": _span_document(self.current_span, self.current),
            "reference": _span_document(self.reference_span, self.reference),
            "past_windows": len(self.history),
            "quantile": QUANTILE,
        }


def data_drift(features: pd.DataFrame, seed: int = 0) -> DriftReport:
    """Compare the newest 21 sessions with the 252 before them, against thresholds learnt from all earlier windows.

    On the embedded prices, with the thresholds of each moment learnt from its own past only, 4.9 % of all windows and
    4.6 % of 238 month ends alarm, all of them in 2008-2012 and 2020.

    Parameters
    ----------
    features
        Rows of `market/features` of one interval, any order, with at least `COLUMNS`; rows with a null in a monitor
        (the warm-up of a series) are left out.
    seed
        Of the sample that is taken where a window has more than `MAX_ROWS` rows.

    Raises
    ------
    NotEnoughHistoryError
        With fewer than 273 sessions, or where no series is alive in both windows.
    """
    panel = _Panel(features, seed)
    windows = panel.windows()
    newest = next(windows, None)
    if newest is None:
        raise NotEnoughHistoryError(
            f"drift needs {CURRENT + REFERENCE} sessions with at least one series alive through all of them; "
            f"the features have {panel.sessions.size}"
        )
    # Past windows end before the newest one begins: what is judged has no say in its own threshold.
    fewest = COMPARABLE * newest.series
    past = [w for w in windows if w.end <= newest.end - CURRENT and w.series >= fewest]
    distances = np.array([panel.distances(w) for w in past]).reshape(-1, len(MONITORS))
    ends = pd.DatetimeIndex([panel.day(w.end - 1) for w in past], name="end")
    history = pd.DataFrame(distances, index=ends, columns=list(MONITORS)).iloc[::-1]
    limits = thresholds(history)
    return DriftReport(
        monitors=tuple(
            Monitor(column, float(distance), limits[column] if limits else None)
            for column, distance in zip(MONITORS, panel.distances(newest), strict=True)
        ),
        symbols=panel.alive(newest),
        current_span=(panel.day(newest.end - CURRENT), panel.day(newest.end - 1)),
        reference_span=(panel.day(newest.end - CURRENT - REFERENCE), panel.day(newest.end - CURRENT - 1)),
        current=panel.frame(newest.current),
        reference=panel.frame(newest.reference),
        history=history,
    )


def thresholds(history: pd.DataFrame) -> dict[str, float] | None:
    """The 99 % quantile of each column of past distances, or None with fewer than `MIN_HISTORY` windows."""
    if len(history) < MIN_HISTORY:
        return None
    return {str(column): float(value) for column, value in history.quantile(QUANTILE).items()}


def distance(current: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Wasserstein-1 distance of two samples (1-d, any lengths) in standard deviations of the reference.

    It is the area between the two empirical distribution functions, normed as Evidently norms it (a deviation below
    0.001 counts as 0.001), so that a report drawn by Evidently shows the same number.
    """
    current, reference = np.sort(current), np.sort(reference)
    points = np.sort(np.concatenate([current, reference]), kind="stable")
    below_current = np.searchsorted(current, points[:-1], side="right") / current.size
    below_reference = np.searchsorted(reference, points[:-1], side="right") / reference.size
    area = np.abs(below_current - below_reference) @ np.diff(points)
    return float(area / max(reference.std(), 0.001))


@dataclass(frozen=True)
class _Window:
    """Row numbers of one comparison; `end` is the session after its last, `series` how many series it compares."""

    end: int
    series: int
    current: NDArray[np.intp]
    reference: NDArray[np.intp]


class _Panel:
    """The features in order of time, cut into sessions."""

    def __init__(self, features: pd.DataFrame, seed: int) -> None:
        rows = features.loc[:, list(COLUMNS)].replace([np.inf, -np.inf], np.nan).dropna()
        counts = rows.groupby("ts").size()
        # One series that trades on a day when the others do not is no session of the panel.
        usual = counts.rolling(CURRENT, min_periods=1).median()
        rows = rows[rows["ts"].isin(counts.index[counts >= QUORUM * usual])].sort_values(["ts", "symbol"])
        codes, names = pd.factorize(rows["symbol"])
        self.codes, self.names = codes, np.asarray(names, dtype=object)
        self.values = rows.loc[:, list(MONITORS)].to_numpy(np.float64)
        numbers, self.sessions = pd.factorize(rows["ts"], sort=True)
        self.starts = np.searchsorted(numbers, np.arange(self.sessions.size + 1))
        self.seed = seed

    def windows(self) -> Iterator[_Window]:
        """Every comparison that the sessions allow, newest first, `STEP` sessions apart."""
        for end in range(self.sessions.size, CURRENT + REFERENCE - 1, -STEP):
            current = self._rows(end - CURRENT, end)
            reference = self._rows(end - CURRENT - REFERENCE, end - CURRENT)
            alive = self._present(current, CURRENT) & self._present(reference, REFERENCE)
            if alive.any():
                yield _Window(end, int(alive.sum()), self._sample(current, alive), self._sample(reference, alive))

    def distances(self, window: _Window) -> list[float]:
        """The distance of every monitor."""
        current, reference = self.values[window.current], self.values[window.reference]
        return [distance(current[:, i], reference[:, i]) for i in range(len(MONITORS))]

    def alive(self, window: _Window) -> tuple[str, ...]:
        """Names of the series in a window, sorted."""
        return tuple(sorted(self.names[np.unique(self.codes[window.current])]))

    def frame(self, rows: NDArray[np.intp]) -> pd.DataFrame:
        """Monitors of some rows."""
        return pd.DataFrame(self.values[rows], columns=list(MONITORS))

    def day(self, session: int) -> pd.Timestamp:
        """Date of a session by its number."""
        return pd.Timestamp(self.sessions[session])

    def _rows(self, first: int, end: int) -> NDArray[np.intp]:
        return np.arange(self.starts[first], self.starts[end])

    def _present(self, rows: NDArray[np.intp], sessions: int) -> NDArray[np.bool_]:
        return np.bincount(self.codes[rows], minlength=self.names.size) >= ALIVE * sessions

    def _sample(self, rows: NDArray[np.intp], alive: NDArray[np.bool_]) -> NDArray[np.intp]:
        rows = rows[alive[self.codes[rows]]]
        if rows.size <= MAX_ROWS:
            return rows
        return np.sort(np.random.default_rng(self.seed).choice(rows, MAX_ROWS, replace=False))


def _span_document(span: tuple[pd.Timestamp, pd.Timestamp], rows: pd.DataFrame) -> dict[str, Any]:
    return {"from": f"{span[0]:%Y-%m-%d}", "to": f"{span[1]:%Y-%m-%d}", "rows": len(rows)}
