"""Windows over the last n rows: means, deviations, extremes and moments of two series.

Each window is null unless all of its n values are there. It is summed in row order from its own first value, so that
its result depends on these values only, to the bit: not on what is computed beside it, nor on where a series starts.
"""

from collections.abc import Callable, Sequence

import numpy as np

from lake.lists import Floats, Lists

Window = Sequence[Floats]  # the values of many windows: first the oldest of each, last the newest of each

_WINDOWS_AT_ONCE = 8_192  # few enough for the processor's cache


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
    return np.sqrt(_rolling(_variation, n, values) / (n - 1))


def rolling_std_pop(values: Lists, n: int) -> Floats:
    """Population standard deviation (divisor n) of the last `n` values."""
    return np.sqrt(_rolling(_variation, n, values) / n)


def rolling_cov(values: Lists, others: Lists, n: int) -> Floats:
    """Sample covariance (divisor n - 1) of the last `n` pairs."""
    return _rolling(_covariation, n, values, others) / (n - 1)


def rolling_var(values: Lists, n: int) -> Floats:
    """Sample variance (divisor n - 1) of the last `n` values."""
    return _rolling(_variation, n, values) / (n - 1)


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
    newest, offset = window[-1], np.empty_like(window[0])
    mean, total = np.zeros_like(offset), np.zeros_like(offset)
    for values in window:
        mean += np.subtract(values, newest, out=offset)
    mean /= len(window)
    for values in window:
        np.subtract(values, newest, out=offset)
        offset -= mean
        total += np.abs(offset, out=offset)
    return total / len(window)


def _variation(window: Window) -> Floats:
    """Sum of the squared deviations from the mean, by way of those from the newest value.

    Of a constant it is exactly 0. The mean is at most sqrt(n - 1) standard deviations from the newest value, so that no
    more than a factor n is lost of the precision of a number, however far from zero the values are.
    """
    newest, offset = window[-1], np.empty_like(window[0])
    total, squares = np.zeros_like(offset), np.zeros_like(offset)
    for values in window[:-1]:
        total += np.subtract(values, newest, out=offset)
        offset *= offset
        squares += offset
    return np.maximum(squares - total * total / len(window), 0)


def _covariation(window: Window, others: Window) -> Floats:
    """Sum of the products of two series' deviations from their means, in the same way."""
    offset, other_offset = np.empty_like(window[0]), np.empty_like(window[0])
    total, other_total, products = (np.zeros_like(offset) for _ in range(3))
    for values, other in zip(window[:-1], others[:-1], strict=True):
        total += np.subtract(values, window[-1], out=offset)
        other_total += np.subtract(other, others[-1], out=other_offset)
        offset *= other_offset
        products += offset
    return products - total * other_total / len(window)


def _rolling(function: Callable[..., Floats], n: int, *lists: Lists) -> Floats:
    """A function of the windows that end in the wanted rows."""
    if n < 1:
        raise ValueError(f"a window has at least 1 row, got {n}")
    first = lists[0]
    rows, wanted = len(first.flat), first.wanted
    if isinstance(wanted, slice) or 4 * len(wanted) > rows:
        results = np.full(rows, np.nan)
        for start in range(n - 1, rows, _WINDOWS_AT_ONCE):
            stop = min(start + _WINDOWS_AT_ONCE, rows)
            windows = [[it.flat[start - back : stop - back] for back in range(n - 1, -1, -1)] for it in lists]
            results[start:stop] = function(*windows)
        for position in range(n - 1):  # windows that begin in another series
            results[first.starts[first.lengths > position] + position] = np.nan
        return results[wanted]
    results = np.full(len(wanted), np.nan)
    full = np.flatnonzero(first.positions[wanted] >= n - 1)
    for start in range(0, len(full), _WINDOWS_AT_ONCE):
        some = full[start : start + _WINDOWS_AT_ONCE]
        windows = [[it.flat[wanted[some] - back] for back in range(n - 1, -1, -1)] for it in lists]
        results[some] = function(*windows)
    return results
