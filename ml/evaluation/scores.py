"""Scores: forecasts beside outcomes in; rows of `models/evaluation` out, overall and by year, symbol and regime."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.arrays import FloatArray, RowIndex
from ml.datasets import Target
from ml.evaluation.bootstrap import Estimate, bootstrap_difference, bootstrap_gain
from ml.evaluation.interval_scores import inside, interval_score
from ml.evaluation.losses import loss

_Metrics = Callable[[RowIndex, NDArray[np.datetime64]], Iterator[tuple[str, str, Estimate]]]
"""Rows of a group and their sessions in; model, metric and estimate out."""
GROUPINGS = ("year", "symbol", "regime")
SEED = 0


def forecast_scores(
    frame: pd.DataFrame, target: Target, models: Sequence[str], references: Sequence[str]
) -> pd.DataFrame:
    """Mean loss of every model, and the share of each reference's loss that it saves, in every group.

    Parameters
    ----------
    frame : a row a forecast, with symbol, ts, year, regime, outcome and a column for each model and reference.
    """
    outcome = frame["outcome"].to_numpy()
    losses = {name: loss(target, outcome, frame[name].to_numpy()) for name in dict.fromkeys((*models, *references))}
    name = "mse" if target.kind == "return" else "qlike"

    def metrics(rows: RowIndex, ts: NDArray[np.datetime64]) -> Iterator[tuple[str, str, Estimate]]:
        for model in models:
            own = losses[model][rows]
            yield model, name, bootstrap_difference(own, ts, seed=SEED)
            for reference in references:
                if reference != model:
                    gain = bootstrap_gain(own, losses[reference][rows], ts, seed=SEED)
                    yield model, f"gain_vs_{reference}", gain
            if target.kind == "return":
                right = (frame[model].to_numpy()[rows] > 0) == (outcome[rows] > 0)
                yield model, "directional_accuracy", bootstrap_difference(right.astype(float), ts, seed=SEED)

    return _table(frame, target, metrics)


def interval_scores(
    frame: pd.DataFrame, target: Target, bounds: Mapping[str, NDArray[np.float64]], levels: Sequence[float]
) -> pd.DataFrame:
    """Coverage, width and interval score of every method [rows, levels, 2], in every group."""
    outcome = frame["outcome"].to_numpy()

    def metrics(rows: RowIndex, ts: NDArray[np.datetime64]) -> Iterator[tuple[str, str, Estimate]]:
        for method, edges in bounds.items():
            for j, level in enumerate(levels):
                own, happened = edges[rows, j], outcome[rows]
                values: dict[str, FloatArray] = {
                    "coverage": inside(happened, own).astype(float),
                    "width": own[:, 1] - own[:, 0],
                    "interval_score": interval_score(happened, own, level),
                }
                for name, value in values.items():
                    yield method, f"{name}_{level * 100:.0f}", bootstrap_difference(value, ts, seed=SEED)

    return _table(frame, target, metrics)


def _table(frame: pd.DataFrame, target: Target, metrics: _Metrics) -> pd.DataFrame:
    ts = frame["ts"].to_numpy("datetime64[us]")
    groups = [("all", "all", np.arange(len(frame)))]
    for grouping in GROUPINGS:
        groups += [(grouping, str(name), np.asarray(rows)) for name, rows in frame.groupby(grouping).indices.items()]
    return pd.DataFrame(
        [
            {
                "target": target.name,
                "model": model,
                "grouping": grouping,
                "group": group,
                "metric": metric,
                **estimate._asdict(),
                "forecasts": len(rows),
            }
            for grouping, group, rows in groups
            for model, metric, estimate in metrics(rows, ts[rows])
        ]
    )
