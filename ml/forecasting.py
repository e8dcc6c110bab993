"""Forecasting: registered versions in, one row of `forecasts/predictions` a symbol, target and session, stored once."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from lake.ids import forecast_id
from lake.store import Lake
from lake.tables import TABLES
from ml.arrays import RowIndex
from ml.artifact import volatility_scale
from ml.datasets import TARGETS, Panel
from ml.deployments import Deployment
from ml.explain import contributions, largest
from ml.interval_state import known
from ml.upsert import upsert

PREDICTIONS = "forecasts/predictions"
SCHEMA: pa.Schema = TABLES[PREDICTIONS].schema

HISTORY = 20
"""Sessions before the newest one that are forecast too where nobody has yet: a new version has scores at once."""


def forecast(
    features: pd.DataFrame,
    deployments: Sequence[Deployment],
    *,
    lake_versions: Mapping[str, int],
    dagster_run_id: str,
    now: datetime,
) -> pa.Table:
    """Forecasts for the newest usable session of every symbol, and for the sessions before it that are unseen.

    Parameters
    ----------
    features : rows of `market/features`; the newest 300 sessions of each symbol are plenty.
    now : aware; becomes `created_at`.

    Returns
    -------
    Table in the schema of `forecasts/predictions`, sorted by symbol, target, session and role. The id depends on
    (symbol, target, as_of, model, version) only, so a repeated forecast replaces itself.
    """
    panel = Panel.of(features)
    common = {
        "lake_versions": json.dumps(dict(lake_versions), sort_keys=True),
        "dagster_run_id": dagster_run_id,
        "created_at": now,
    }
    records = [record | common for deployment in deployments for record in _records(panel, deployment)]
    records.sort(key=lambda r: (r["symbol"], r["target"], r["as_of"], r["role"]))
    return pa.Table.from_pylist(records, schema=SCHEMA)


def store(lake: Lake, table: pa.Table) -> int:
    """Write what is new of a table from `forecast`; the number of rows written.

    A forecast that the lake holds already stays as it is. One for the newest session whose numbers changed, because a
    correction of the past changed its features, takes the place of the old one; older sessions are never forecast
    again, for their outcome may be known.
    """
    return upsert(lake, PREDICTIONS, table, ("mean", "last_price"), final=table["backfilled"].to_numpy())


def newest_rows(panel: Panel, lookback: int, unseen_from: datetime) -> tuple[RowIndex, NDArray[np.intp]]:
    """Rows to forecast, and how many usable sessions of the symbol come after each.

    They are the newest usable session of each symbol, and of the `HISTORY` before it those since `unseen_from`.
    """
    rows = panel.rows(lookback)
    symbols = panel.frame["symbol"].to_numpy(object)[rows]
    _, first, counts = np.unique(symbols, return_index=True, return_counts=True)
    later = np.repeat(first + counts - 1, counts) - np.arange(len(rows))
    unseen = (panel.frame["ts"].iloc[rows] >= unseen_from).to_numpy()
    wanted = (later == 0) | ((later <= HISTORY) & unseen)
    return rows[wanted], later[wanted]


def _records(panel: Panel, deployment: Deployment) -> list[dict[str, Any]]:
    model = deployment.model
    target = TARGETS[model.contract.target]
    rows, later = newest_rows(panel, deployment.lookback, deployment.unseen_from)
    frame = panel.frame.iloc[rows]
    mean = model.forecast(panel, rows)
    scale = volatility_scale(panel, rows, target.horizon, deployment.scale_model)
    bounds = model.conformal.intervals(mean, scale, _quantiles(deployment, frame))
    newest = later == 0  # what is backfilled is there to be scored, and nobody asks why it was said
    explained = np.zeros((len(rows), len(model.inputs)))
    explained[newest] = contributions(model, panel.windows(rows[newest], model.inputs, model.lookback))
    return [
        {
            "id": forecast_id(symbol, target.name, as_of, model.name, model.version),
            "symbol": symbol,
            "target": target.name,
            "horizon": target.horizon,
            "as_of": as_of,
            "last_price": float(price),
            "mean": float(value),
            "price": float(price * np.exp(value)) if target.kind == "return" else None,
            "intervals": [
                {"level": level, "lower": float(lower), "upper": float(upper)}
                for level, (lower, upper) in zip(model.conformal.levels, bound, strict=True)
            ],
            "contributions": largest(model.inputs, moved),
            "model": model.name,
            "version": model.version,
            "role": deployment.role,
            "backfilled": bool(after > 0),
            "mlflow_run_id": model.run_id,
        }
        for symbol, as_of, price, value, bound, after, moved in zip(
            frame["symbol"], frame["ts"].tolist(), frame["last_price"], mean, bounds, later, explained, strict=True
        )
    ]


def _quantiles(deployment: Deployment, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Half-widths [rows, levels] by the newest state that was known at the session of each row."""
    conformal = deployment.model.conformal
    quantiles = np.tile(conformal.quantiles, (len(frame), 1))
    for as_of in frame["ts"].unique():
        state = known(deployment.states, as_of)
        if state is not None:
            rows = (frame["ts"] == as_of).to_numpy()
            quantiles[rows] = state.quantiles(conformal, frame.loc[rows, "symbol"].tolist())
    return quantiles
