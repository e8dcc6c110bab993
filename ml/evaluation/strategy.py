"""Strategy: returns of a portfolio that trusts the order of the forecasts, so that its Sharpe ratio can be judged."""

import numpy as np
import pandas as pd

from ml.arrays import FloatArray


def long_short(frame: pd.DataFrame, model: str, horizon: int) -> FloatArray:
    """Log returns, before costs, of being long the better half of the forecasts and short the other one.

    The portfolio is formed every `horizon` sessions and held that long, so its returns do not overlap. It is empty
    where all forecasts are equal.

    Parameters
    ----------
    frame : a row a forecast, with ts, outcome and the column `model`.
    """
    sessions = np.sort(frame["ts"].unique())[::horizon]
    rows = frame.loc[frame["ts"].isin(sessions), ["ts", "outcome", model]]
    side = (rows[model] - rows.groupby("ts")[model].transform("median")).map(np.sign)
    earned = (side * rows["outcome"]).groupby(rows["ts"]).sum() / side.abs().groupby(rows["ts"]).sum().clip(lower=1)
    return earned.to_numpy(np.float64)
