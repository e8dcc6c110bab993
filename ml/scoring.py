"""Scoring: what has happened since a forecast was made, and how versions compare on it."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake.store import Lake
from lake.tables import PREDICTIONS, SCORES, UTC_TIMESTAMP
from ml.arrays import FloatArray
from ml.datasets import TARGETS, known_at, label
from ml.evaluation import Estimate, bootstrap_difference, diebold_mariano, loss
from ml.upsert import upsert

BARS = "market/bars"
LEVEL, TOLERANCE, SESSIONS, MIN_SESSIONS = 0.90, 0.05, 60, 40
"""Of which interval the coverage is watched, how far off it may be, over how many sessions, and how many it takes."""
_FORECAST = ("id", "symbol", "target", "as_of", "model", "version", "role", "backfilled", "mean", "intervals")


def score(predictions: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """Scores of the forecasts whose outcome is known, in the columns of `forecasts/scores`.

    Parameters
    ----------
    predictions : rows of `forecasts/predictions`.
    bars : symbol, ts and close (adjusted) of daily bars, from the sessions of the forecasts on.
    """
    bars = bars.sort_values(["symbol", "ts"], ignore_index=True)
    parts = []
    for name, forecasts in predictions.groupby("target"):
        target = TARGETS[str(name)]
        outcomes = bars[["symbol", "ts"]].assign(
            outcome=label(bars, target), known_at=pd.DatetimeIndex(known_at(bars, target)).tz_localize("UTC")
        )
        found = forecasts.merge(
            outcomes.dropna(subset="outcome").rename(columns={"ts": "as_of"}), on=["symbol", "as_of"]
        )
        outcome, mean = found["outcome"].to_numpy(np.float64), found["mean"].to_numpy(np.float64)
        held = [
            [{"level": i["level"], "hit": bool(i["lower"] <= y <= i["upper"])} for i in intervals]
            for y, intervals in zip(outcome, found["intervals"], strict=True)
        ]
        scored = found.assign(error=outcome - mean, loss=loss(target, outcome, mean))
        parts.append(scored.assign(hits=pd.Series(held, scored.index, object)))
    found = pd.concat(parts) if parts else pd.DataFrame(columns=SCORES.schema.names)
    return found[SCORES.schema.names].sort_values(["as_of", "target", "symbol", "id"], ignore_index=True)


def update(lake: Lake) -> int:
    """Bring `forecasts/scores` up to date with forecasts and bars; the number of rows written.

    A score whose outcome has changed, because a price was corrected, is replaced.
    """
    predictions = lake.read(PREDICTIONS.name, _FORECAST).to_pandas()
    first = pa.scalar(predictions["as_of"].min(), UTC_TIMESTAMP)  # null where there is no forecast, and so no bar
    daily = (pc.field("interval") == "1d") & (pc.field("ts") >= first)
    bars = lake.read(BARS, ["symbol", "ts", "close_adj"], daily).to_pandas().rename(columns={"close_adj": "close"})
    rows = pa.Table.from_pandas(score(predictions, bars), SCORES.schema, preserve_index=False)
    return upsert(lake, SCORES.name, rows, ("outcome", "mean"))


def hits(scores: pd.DataFrame) -> pd.DataFrame:
    """Whether each interval held: a column a level."""
    return pd.DataFrame([{i["level"]: i["hit"] for i in row} for row in scores["hits"]], index=scores.index)


def by_version(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Number of forecasts, mean loss and coverage of every version, the newest version of a model first."""
    rows = []
    for (target, version, role), group in scores.groupby(["target", "version", "role"]):
        rows.append(
            {
                "target": target,
                "version": version,
                "role": role,
                "forecasts": len(group),
                "backfilled": int(group["backfilled"].sum()),
                "first": group["as_of"].min().to_pydatetime(),
                "last": group["as_of"].max().to_pydatetime(),
                "loss": float(group["loss"].mean()),
                **{f"coverage {level}": float(share) for level, share in hits(group).mean().items()},
            }
        )
    return sorted(rows, key=lambda row: (row["target"], -int(row["version"]), row["role"]))


def coverage(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Coverage of each target's champions over the newest sessions, and whether it is off by more than luck."""
    rows = []
    for target, group in scores.loc[scores["role"] == "champion"].groupby("target"):
        newest = group.loc[group["as_of"].isin(np.sort(group["as_of"].unique())[-SESSIONS:])]
        found = _estimate(hits(newest)[LEVEL].to_numpy(np.float64), newest)
        rows.append(
            {
                "target": target,
                "sessions": newest["as_of"].nunique(),
                "forecasts": len(newest),
                **_columns(found),
                "credibly off": found.upper < LEVEL - TOLERANCE or found.lower > LEVEL + TOLERANCE,
            }
        )
    return rows


def compare(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Champion against challenger on the forecasts that both have made: same symbol, same session.

    `value` is the difference in mean loss, the challenger's less the champion's: below zero the challenger is better.
    Its 95 % block bootstrap interval and the p-value of the Diebold-Mariano test take `MIN_SESSIONS`.
    """
    key = ["target", "symbol", "as_of"]
    champion, challenger = (scores.loc[scores["role"] == role] for role in ("champion", "challenger"))
    pairs = champion.merge(challenger, on=key, suffixes=("_champion", "_challenger"))
    rows = []
    for (target, ours, theirs), both in pairs.groupby(["target", "version_champion", "version_challenger"]):
        own, reference = both["loss_challenger"].to_numpy(np.float64), both["loss_champion"].to_numpy(np.float64)
        found = _estimate(own - reference, both)
        row = {
            "target": target,
            "champion": ours,
            "challenger": theirs,
            "sessions": both["as_of"].nunique(),
            "forecasts": len(both),
            "champion's loss": float(reference.mean()),
            "challenger's loss": float(own.mean()),
            **_columns(found),
            "p": None,
        }
        if np.isfinite(found.lower) and (own != reference).any():
            row["p"] = diebold_mariano(own, reference, _sessions(both), TARGETS[str(target)].horizon).p_value
        rows.append(row)
    return rows


def _estimate(values: FloatArray, rows: pd.DataFrame) -> Estimate:
    """Mean of a number a forecast, and its interval; without bounds where the sessions are too few to know them."""
    if rows["as_of"].nunique() < MIN_SESSIONS:
        return Estimate(float(values.mean()), -np.inf, np.inf)
    return bootstrap_difference(values, _sessions(rows), seed=0)


def _columns(found: Estimate) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in found._asdict().items()}


def _sessions(rows: pd.DataFrame) -> NDArray[np.datetime64]:
    return rows["as_of"].to_numpy("datetime64[us]")
