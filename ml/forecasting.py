"""Forecasting: champions in, one row of `forecasts/predictions` a symbol and target out, stored once."""

import json
from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.ids import forecast_id
from lake.store import Lake
from lake.tables import TABLES
from ml.arrays import FloatArray, RowIndex
from ml.artifact import LoadedModel, volatility_scale
from ml.datasets import TARGETS, Panel

PREDICTIONS = "forecasts/predictions"
SCHEMA: pa.Schema = TABLES[PREDICTIONS].schema


def forecast(
    features: pd.DataFrame,
    return_model: LoadedModel,
    volatility_model: LoadedModel,
    *,
    scale_model: LoadedModel | None,
    lake_versions: Mapping[str, int],
    dagster_run_id: str,
    now: datetime,
) -> pa.Table:
    """Forecasts of both targets for the newest usable session of every symbol.

    Parameters
    ----------
    features : rows of `market/features`; the newest 300 sessions of each symbol are plenty.
    scale_model : the version that `return_model.conformal.scaled_by` names; None where that is None.
    now : aware; becomes `created_at`.

    Returns
    -------
    Table in the schema of `forecasts/predictions`, sorted by symbol, then target. The id depends on
    (symbol, target, as_of, model, version) only, so a repeated forecast replaces itself.

    Raises
    ------
    ValueError
        If the scale is not the one that the intervals were calibrated with.
    """
    given = (scale_model.name, scale_model.version) if scale_model else None
    if given != return_model.conformal.scaled_by:
        raise ValueError(
            f"intervals of {return_model.name} version {return_model.version} are scaled by "
            f"{return_model.conformal.scaled_by}, not by {given}"
        )
    panel = Panel.of(features)
    models = [m for m in (return_model, volatility_model, scale_model) if m is not None]
    rows = newest_rows(panel, max(m.lookback for m in models))
    horizon = TARGETS[return_model.contract.target].horizon
    scale = volatility_scale(panel, rows, horizon, scale_model)
    common = {
        "lake_versions": json.dumps(dict(lake_versions), sort_keys=True),
        "dagster_run_id": dagster_run_id,
        "created_at": now,
    }
    records = [
        record | common for model in (return_model, volatility_model) for record in _records(panel, rows, model, scale)
    ]
    records.sort(key=lambda r: (r["symbol"], r["target"]))
    return pa.Table.from_pylist(records, schema=SCHEMA)


def store(lake: Lake, table: pa.Table) -> int:
    """Write what is new of a table from `forecast`, in one commit; the number of rows written.

    A forecast that the lake holds already stays as it is. One whose numbers changed, because a correction of the past
    changed its features, takes the place of the old one.
    """
    if not lake.exists(PREDICTIONS):
        lake.create(PREDICTIONS)
    columns = ("mean", "last_price")
    ids = table["id"].to_pylist()
    known = lake.read(PREDICTIONS, ["id", *columns], pc.field("id").isin(ids)).to_pandas().set_index("id")
    before, now = known.reindex(ids)[list(columns)].to_numpy(), table.select(columns).to_pandas().to_numpy()
    changed = ~np.isclose(now, before, rtol=1e-6, atol=1e-12).all(axis=1)
    if changed.any():
        rows = table.filter(pa.array(changed))
        quoted = ", ".join(f"'{i}'" for i in rows["id"].to_pylist())
        lake.replace(PREDICTIONS, rows, predicate=f"id IN ({quoted})")
    return int(changed.sum())


def newest_rows(panel: Panel, lookback: int) -> RowIndex:
    """Row of the newest usable session of each symbol that has one."""
    rows = panel.rows(lookback)
    symbols = panel.frame["symbol"].to_numpy(object)[rows]
    last = np.r_[symbols[1:] != symbols[:-1], True] if len(rows) else np.empty(0, bool)
    return rows[last]


def _records(panel: Panel, rows: RowIndex, model: LoadedModel, scale: FloatArray) -> list[dict[str, object]]:
    target = TARGETS[model.contract.target]
    mean = model.forecast(panel, rows)
    bounds = model.conformal.intervals(mean, scale)
    frame = panel.frame.iloc[rows]
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
            "model": model.name,
            "version": model.version,
            "mlflow_run_id": model.run_id,
        }
        for symbol, as_of, price, value, bound in zip(
            frame["symbol"],
            frame["ts"].tolist(),
            frame["last_price"],
            mean,
            bounds,
            strict=True,
        )
    ]
