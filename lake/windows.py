"""Windows over the last n rows: means, deviations, extremes and moments of two series.

Each window is null unless all of its n values are there. It is put together from blocks of 1, 2, 4, ... values, each
made of its two halves: for 200 values that is 9 steps, not 199. The result depends on the values of the window only, to
the bit: not on what is computed beside it, nor on where a series starts.
"""

from collections.abc import Callable

import numpy as np

from lake.lists import Floats, Lists

Blocks = tuple[Floats, ...]  # what is known of many blocks of neighbours, all of one size; by time along the first axis
Join = Callable[[Blocks, Blocks, int, int], Blocks]  # older blocks, the newer ones next to them, and the size of each

_WINDOWS_AT_ONCE = 8_192  # few enough for the processor's cache


def rolling_sum(values: Lists, n: int) -> Floats:
    """Sum of the last `n` values."""
    return _rolling(_sum, n, values)


def rolling_mean(values: Lists, n: int) -> Floats:
    """Mean of the last `n` values."""
    return _rolling(lambda *window: _sum(*window) / n, n, values)


def rolling_wma(values: Lists, n: int) -> Floats:
    """Mean of the last `n` values with linear weights: the newest counts n times, the oldest once."""
    return _rolling(lambda *window: _weighted_sum(*window) / (n * (n + 1) / 2), n, values)


def rolling_min(values: Lists, n: int) -> Floats:
    """Least of the last `n` values."""
    return _rolling(_least, n, values)


def rolling_max(values: Lists, n: int) -> Floats:
    """Greatest of the last `n` values."""
    return _rolling(_greatest, n, values)


def rolling_std(values: Lists, n: int) -> Floats:
    """Sample standard deviation (divisor n - 1) of the last `n` values."""
    return _rolling(lambda *window: np.sqrt(_variation(*window) / (n - 1)), n, values)


def rolling_std_pop(values: Lists, n: int) -> Floats:
    """Population standard deviation (divisor n) of the last `n` values."""
    return _rolling(lambda *window: np.sqrt(_variation(*window) / n), n, values)


def rolling_cov(values: Lists, others: Lists, n: int) -> Floats:
    """Sample covariance (divisor n - 1) of the last `n` pairs."""
    return _rolling(lambda *window: _covariation(*window) / (n - 1), n, values, others)


def rolling_var(values: Lists, n: int) -> Floats:
    """Sample variance (divisor n - 1) of the last `n` values."""
    return _rolling(lambda *window: _variation(*window) / (n - 1), n, values)


def rolling_mean_deviation(values: Lists, n: int) -> Floats:
    """Mean absolute deviation of the last `n` values from their mean."""
    return _rolling(lambda *window: _deviation(*window) / n, n, values)


def lagged(values: Lists, n: int) -> Floats:
    """The value `n` rows before."""
    return _rolling(lambda rows, values: values[: len(values) - rows + 1], n + 1, values)


def _sum(n: int, values: Floats) -> Floats:
    return _joined(n, lambda older, newer, *_: (older[0] + newer[0],), values)[0]


def _least(n: int, values: Floats) -> Floats:
    return _joined(n, lambda older, newer, *_: (np.minimum(older[0], newer[0]),), values)[0]


def _greatest(n: int, values: Floats) -> Floats:
    return _joined(n, lambda older, newer, *_: (np.maximum(older[0], newer[0]),), values)[0]


def _weighted_sum(n: int, values: Floats) -> Floats:
    def join(older: Blocks, newer: Blocks, size: int, _: int) -> Blocks:
        return older[0] + newer[0], older[1] + (newer[1] + size * newer[0])

    return _joined(n, join, values, values)[1]


def _deviation(n: int, values: Floats) -> Floats:
    """Sum of the absolute deviations from the mean. Of a constant it is exactly 0."""
    newest, offset = _joined(n, _join_means, values, _zeros(values))
    mean = newest + offset
    total, deviation = np.zeros_like(mean), np.empty_like(mean)
    for position in range(n):
        np.subtract(values[position : position + len(mean)], mean, out=deviation)
        total += np.abs(deviation, out=deviation)
    return total


def _variation(n: int, values: Floats) -> Floats:
    """Sum of the squared deviations from the mean, block by block from those of the blocks' means. Of a constant: 0."""

    def join(older: Blocks, newer: Blocks, size: int, other: int) -> Blocks:
        apart = _apart(older, newer)
        apart *= apart
        apart *= size * other / (size + other)
        return *_join_means(older, newer, size, other), older[2] + newer[2] + apart

    zeros = _zeros(values)
    return _joined(n, join, values, zeros, zeros)[2]


def _covariation(n: int, values: Floats, others: Floats) -> Floats:
    """Sum of the products of two series' deviations from their means, in the same way."""

    def join(older: Blocks, newer: Blocks, size: int, other: int) -> Blocks:
        apart = _apart(older, newer)
        apart *= _apart(older[2:], newer[2:])
        apart *= size * other / (size + other)
        means = _join_means(older, newer, size, other) + _join_means(older[2:], newer[2:], size, other)
        return *means, older[4] + newer[4] + apart

    zeros = _zeros(values)
    return _joined(n, join, values, zeros, others, zeros, zeros)[4]


def _join_means(older: Blocks, newer: Blocks, size: int, other: int) -> Blocks:
    """The newest value, and how far off the mean is: small, so that it is precise however far from 0 the values are."""
    offset = older[0] - newer[0]
    offset += older[1]
    offset *= size / (size + other)
    offset += newer[1] * (other / (size + other))
    return newer[0], offset


def _apart(older: Blocks, newer: Blocks) -> Floats:
    """The means of the newer blocks less those of the older ones."""
    step = newer[0] - older[0]
    step += newer[1] - older[1]
    return step


def _zeros(values: Floats) -> Floats:
    return np.broadcast_to(0.0, values.shape)


def _joined(n: int, join: Join, *values: Floats) -> Blocks:
    """What is known of each `n` neighbours, from what is known of each value."""
    windows, size, done = len(values[0]) - n + 1, 1, 0
    blocks: Blocks = values
    result: Blocks = ()
    while True:
        if n & size:
            part = tuple(each[done : done + windows] for each in blocks)
            result = join(result, part, done, size) if done else part
            done += size
        if done == n:
            return result
        blocks = join(tuple(each[:-size] for each in blocks), tuple(each[size:] for each in blocks), size, size)
        size *= 2


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
            results[start:stop] = function(n, *(it.flat[start - n + 1 : stop] for it in lists))
        for position in range(n - 1):  # windows that begin in another series
            results[first.starts[first.lengths > position] + position] = np.nan
        return results[wanted]
    results = np.full(len(wanted), np.nan)
    full = np.flatnonzero(wanted - np.repeat(first.starts, first.lengths - first.lookback) >= n - 1)
    back = np.arange(n - 1, -1, -1)[:, None]
    for start in range(0, len(full), _WINDOWS_AT_ONCE):
        some = full[start : start + _WINDOWS_AT_ONCE]
        (results[some],) = function(n, *(it.flat[wanted[some] - back] for it in lists))
    return results
