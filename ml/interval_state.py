"""State of the intervals: what each model version's hits and misses have taught, kept in `forecasts/interval_state`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake.store import Lake
from lake.tables import INTERVAL_STATE, SCORES
from ml.adaptive import Shifts
from ml.intervals import Conformal

COMMON = "*"


@dataclass(frozen=True)
class IntervalState:
    """What was learned from the outcomes that were known at the close of the session `as_of`."""

    as_of: datetime
    symbols: tuple[str, ...]
    levels: tuple[float, ...]
    shifts: Shifts
    outcomes: int

    def quantiles(self, conformal: Conformal, symbols: Sequence[str]) -> NDArray[np.float64]:
        """Half-widths [N, levels] of a version's intervals for symbols [N]; one that is new has what all share."""
        codes = np.array([self.symbols.index(s) if s in self.symbols else -1 for s in symbols], np.intp)
        return conformal.at(self.shifts.levels(codes, np.asarray(self.levels)))


def learned(scores: pd.DataFrame) -> IntervalState:
    """The state after all scores of one version, session by session in the order in which outcomes were known.

    Parameters
    ----------
    scores : rows of `forecasts/scores` of one version; at least one.
    """
    levels = tuple(float(i["level"]) for i in scores["hits"].iloc[0])
    symbols, codes = np.unique(scores["symbol"].to_numpy(str), return_inverse=True)
    missed = np.array([[not i["hit"] for i in row] for row in scores["hits"]])
    known_at = scores["known_at"].to_numpy("datetime64[us]")
    shifts = Shifts.zero(len(symbols), len(levels))
    for session in np.unique(known_at):
        rows = known_at == session
        shifts = shifts.learn(codes[rows], missed[rows], np.asarray(levels))
    newest = scores["known_at"].max().to_pydatetime()
    return IntervalState(newest, tuple(symbols.tolist()), levels, shifts, len(scores))


def update(lake: Lake, *, dagster_run_id: str, now: datetime) -> int:
    """Write the newest state of every version that has learned since; the number of versions."""
    lake.create(INTERVAL_STATE.name)
    scores = lake.read(SCORES.name, ["symbol", "model", "version", "known_at", "hits"]).to_pandas()
    written = 0
    for (model, version), group in scores.groupby(["model", "version"]):
        state = learned(group)
        before = states(lake, model, version)
        if before and _same(before[-1], state):
            continue
        whose = {"model": model, "version": version, "dagster_run_id": dagster_run_id, "created_at": now}
        lake.replace(
            INTERVAL_STATE.name,
            pa.Table.from_pylist([row | whose for row in _rows(state)], INTERVAL_STATE.schema),
            predicate=f"model = '{model}' and version = '{version}' and as_of = '{state.as_of.isoformat()}'",
        )
        written += 1
    return written


def states(lake: Lake, model: str, version: str) -> list[IntervalState]:
    """Every state of a version, the oldest first."""
    if not lake.exists(INTERVAL_STATE.name):
        return []
    own = (pc.field("model") == model) & (pc.field("version") == version)
    rows = lake.read(INTERVAL_STATE.name, ["as_of", "symbol", "outcomes", "shifts"], own).to_pylist()
    found = []
    for as_of in sorted({row["as_of"] for row in rows}):
        by_symbol = {row["symbol"]: row for row in rows if row["as_of"] == as_of}
        common = by_symbol.pop(COMMON)
        symbols = tuple(sorted(by_symbol))
        shifts = Shifts(_shifts(common), np.array([_shifts(by_symbol[s]) for s in symbols]))
        levels = tuple(i["level"] for i in common["shifts"])
        found.append(IntervalState(as_of, symbols, levels, shifts, common["outcomes"]))
    return found


def known(states: Sequence[IntervalState], as_of: datetime) -> IntervalState | None:
    """The newest of some states, oldest first, that was known at the close of a session; None before the first."""
    return next((state for state in reversed(states) if state.as_of <= as_of), None)


def _same(one: IntervalState, other: IntervalState) -> bool:
    return (
        (one.as_of, one.symbols, one.levels, one.outcomes) == (other.as_of, other.symbols, other.levels, other.outcomes)
        and np.allclose(one.shifts.common, other.shifts.common, rtol=0, atol=1e-12)
        and np.allclose(one.shifts.own, other.shifts.own, rtol=0, atol=1e-12)
    )


def _rows(state: IntervalState) -> list[dict[str, Any]]:
    of_symbol = {COMMON: state.shifts.common, **dict(zip(state.symbols, state.shifts.own, strict=True))}
    return [
        {
            "as_of": state.as_of,
            "symbol": symbol,
            "outcomes": state.outcomes,
            "shifts": [
                {"level": level, "shift": float(shift)} for level, shift in zip(state.levels, shifts, strict=True)
            ],
        }
        for symbol, shifts in of_symbol.items()
    ]


def _shifts(row: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([i["shift"] for i in row["shifts"]])
