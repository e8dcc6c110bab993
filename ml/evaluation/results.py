"""Results: the rows of `models/evaluation`, from an evaluation to the lake."""

from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.store import Lake
from lake.tables import EVALUATION
from ml.datasets import TARGETS
from ml.evaluation.scores import forecast_scores
from ml.walk_forward import MARKET_VOLATILITY, regimes

FEATURES = "market/features"
DAILY = pc.field("interval") == "1d"
HELD_OUT, WALK_FORWARD = "held_out", "walk_forward"


def held_out(lake: Lake) -> pd.DataFrame:
    """Scores of the newest training's forecasts of its test period, as they stand in `models/<target>`."""
    market = lake.read(FEATURES, ["ts", MARKET_VOLATILITY], DAILY).to_pandas()
    regime = dict(zip(market["ts"], regimes(market), strict=True))
    tables = []
    for target in TARGETS.values():
        frame = lake.read(f"models/{target.name}").to_pandas()
        frame = frame.assign(year=frame["ts"].dt.year, regime=frame["ts"].map(regime))
        tables.append(forecast_scores(frame, target, ("challenger", "baseline"), ("baseline",)))
    return pd.concat(tables, ignore_index=True)


def replace(lake: Lake, evidence: str, scores: pd.DataFrame, version: int | None, now: datetime) -> None:
    """Put new scores in the place of the older ones of the same evidence, in one commit.

    Parameters
    ----------
    version : of `market/features` that was evaluated; None where the scores do not tell.
    """
    rows = scores.assign(evidence=evidence, features_version=version, evaluated_at=now)
    lake.create(EVALUATION.name)
    lake.replace(
        EVALUATION.name,
        pa.Table.from_pandas(rows[EVALUATION.schema.names], schema=EVALUATION.schema, preserve_index=False),
        predicate=f"evidence = '{evidence}'",
    )
