"""The one recursive primitive, y[t] = y[t-1] + alpha (x[t] - y[t-1]), as a DuckDB function over lists.

EMA, MACD, RSI, ATR and the exponentially weighted variance are this recursion with different `alpha` and inputs;
everything else in the dbt project is plain SQL.
"""

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]


def smooth(values: Floats, alpha: float, warmup: int, state: float | None = None) -> Floats:
    """Smooth one series exponentially, seeded as TA-Lib seeds it.

    Parameters
    ----------
    values : shape (n,), in time order. NaN is no observation: it gives NaN, and the state passes over it.
    alpha : weight of the newest observation: 2 / (period + 1) for an EMA, 1 / period for Wilder's smoothing.
    warmup : number of observations whose mean is the first result; the results before it are NaN.
    state : the result just before the first value. With it there is no warm-up, and smoothing a series in pieces,
        each from the last result of the piece before, gives the same bits as smoothing it at once.

    Returns
    -------
    Shape (n,), in the unit of `values`.

    Raises
    ------
    ValueError : `alpha` is not in (0, 1], or `warmup` is not positive.

    References
    ----------
    TA-Lib, `ta_EMA.c`, `ta_RSI.c` and `ta_ATR.c`. J. W. Wilder, New Concepts in Technical Trading Systems (1978).
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be in (0, 1], got {alpha}")
    if warmup < 1:
        raise ValueError(f"warmup must be at least 1, got {warmup}")
    result = np.full(len(values), np.nan)
    observed = np.flatnonzero(~np.isnan(values))
    if state is None:
        if len(observed) < warmup:
            return result
        state = float(np.mean(values[observed[:warmup]]))
        result[observed[warmup - 1]] = state
        observed = observed[warmup:]
    if len(observed):
        keep = 1 - alpha
        result[observed], _ = lfilter([alpha], [1.0, -keep], values[observed], zi=[keep * state])
    return result


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `smooth(values double[], alpha double, warmup integer, state double)` known to a DuckDB connection.

    The arguments are those of :func:`smooth`, with null in the place of NaN and None; the result is a list as long as
    `values`. Registering twice does nothing.
    """
    known = connection.execute("select 1 from duckdb_functions() where function_name = 'smooth'").fetchone()
    if known is None:
        connection.create_function(
            "smooth",
            _smooth_lists,
            ["double[]", "double", "integer", "double"],
            "double[]",
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )


def _smooth_lists(
    values: pa.ChunkedArray, alpha: pa.ChunkedArray, warmup: pa.ChunkedArray, state: pa.ChunkedArray
) -> pa.Array:
    lists = values.combine_chunks()
    ends = np.cumsum(lists.value_lengths().fill_null(0).to_numpy())
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    pieces = [
        smooth(piece, *parameters)
        for piece, *parameters in zip(
            np.split(flat, ends[:-1]), alpha.to_pylist(), warmup.to_pylist(), state.to_pylist(), strict=True
        )
    ]
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], ends]), pa.int32()),
        pa.array(np.concatenate(pieces), from_pandas=True),
        mask=lists.is_null(),
    )
