"""Windows over the last n rows: means, deviations, extremes and moments of two series.

Each window is null unless all of its n values are there. It is summed in row order from its own first value, so that
its result depends on these values only, to the bit: not on what is computed beside it, nor on where a series starts.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lake.lists import Floats, Integers, Lists

Window = Sequence[Floats]  # the values of many windows: first the oldest of each, last the newest of each

_WINDOWS_AT_ONCE = 16_384  # few enough for the processor's cache


def rolling_sum(values: Lists, n: int) -> Floats:
    """Sum of the last `n` values."""
    return _rolling(_sum, n, values)


def rolling_mean(values: Lists, n: int) -> Floats:
    """Mean of the last `n` values."""
    return _rolling(_mean, n, values)


def rolling_wma(values: Lists, n: int) -> Floats:
    """Mean of the last `n` values with linear weights: the newest counts n times, the oldest once."""
    return _rolling(_wma, n, values)


def rolling_min(values: Lists, n: int) -> Floats:
    """Least of the last `n` values."""
    return _rolling(lambda window: _fold(np.minimum, window), n, values)


def rolling_max(values: Lists, n: int) -> Floats:
    """Greatest of the last `n` values."""
    return _rolling(lambda window: _fold(np.maximum, window), n, values)


def rolling_std(values: Lists, n: int) -> Floats:
    """Sample standard deviation (divisor n - 1) of the last `n` values."""
    return np.sqrt(_rolling(_moment, n, values, values) / (n - 1))


def rolling_std_pop(values: Lists, n: int) -> Floats:
    """Population standard deviation (divisor n) of the last `n` values."""
    return np.sqrt(_rolling(_moment, n, values, values) / n)


def rolling_cov(values: Lists, others: Lists, n: int) -> Floats:
    """Sample covariance (divisor n - 1) of the last `n` pairs."""
    return _rolling(_moment, n, values, others) / (n - 1)


def rolling_mean_deviation(values: Lists, n: int) -> Floats:
    """Mean absolute deviation of the last `n` values from their mean."""
    return _rolling(_mean_deviation, n, values)


def lagged(values: Lists, n: int) -> Floats:
    """The value `n` rows before."""
    return _rolling(lambda window: window[0], n + 1, values)


def _fold(operation: np.ufunc, window: Window) -> Floats:
    result = window[0].copy()
    for values in window[1:]:
        operation(result, values, out=result)
    return result


def _sum(window: Window) -> Floats:
    return _fold(np.add, window)


def _mean(window: Window) -> Floats:
    return _sum(window) / len(window)


def _wma(window: Window) -> Floats:
    total = window[0].copy()
    for weight, values in enumerate(window[1:], start=2):
        total += weight * values
    return total / (len(window) * (len(window) + 1) / 2)


def _mean_deviation(window: Window) -> Floats:
    total = np.zeros_like(window[0])
    for deviation in _deviations(window):
        total += np.abs(deviation)
    return total / len(window)


def _moment(window: Window, others: Window) -> Floats:
    """Sum of the products of two series' deviations from their means."""
    total = np.zeros_like(window[0])
    for deviation, other in zip(_deviations(window), _deviations(others), strict=True):
        total += deviation * other
    return total


def _deviations(window: Window) -> Iterator[Floats]:
    """Deviations from the mean, by way of those from the newest value: exact for a constant, and for a narrow range."""
    newest, total = window[-1], np.zeros_like(window[0])
    for values in window:
        total += values - newest
    mean = total / len(window)
    for values in window:
        yield (values - newest) - mean


def _rolling(function: Callable[..., Floats], n: int, *lists: Lists) -> Floats:
    """A function of the windows that end in the wanted rows."""
    if n < 1:
        raise ValueError(f"a window has at least 1 row, got {n}")
    first = lists[0]
    results = np.full(len(first.wanted), np.nan)
    full = np.flatnonzero(first.positions[first.wanted] >= n - 1)
    for some in np.split(full, range(_WINDOWS_AT_ONCE, len(full), _WINDOWS_AT_ONCE)):
        if len(some):
            ends = first.wanted[some]
            span, chosen = _span(ends)
            windows = [[values.flat[_earlier(span, back)] for back in range(n - 1, -1, -1)] for values in lists]
            results[some] = function(*windows)[chosen]
    return results


def _span(ends: Integers) -> tuple[slice | Integers, slice | Integers]:
    """Rows to compute windows for, as a range where that is cheaper, and which of them are `ends`."""
    first, last = ends[0], ends[-1]
    if last - first < 4 * len(ends):
        return slice(first, last + 1), ends - first
    return ends, slice(None)


def _earlier(rows: slice | Integers, back: int) -> slice | Integers:
    return slice(rows.start - back, rows.stop - back) if isinstance(rows, slice) else rows - back
