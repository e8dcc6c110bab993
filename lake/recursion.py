"""Recursions over time: exponential smoothing, running totals and maxima, which go on from a stored result.

A null is no observation: its result is null, and the recursion passes over it. With a state, the result of the row
before the first wanted one, everything earlier is left out of account; a series in pieces, each from the last result of
the piece before, gives the same bits as the series at once. Without a state (NaN) it starts at its first number.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from lake.lists import Floats, Integers, Lists


def smooth(values: Lists, alpha: float, warmup: int, state: Floats) -> Floats:
    """Smooth exponentially, seeded as TA-Lib seeds: y[t] = y[t-1] + alpha (x[t] - y[t-1]).

    EMA, MACD, RSI, ATR, ADX and the exponentially weighted variance are this with different `alpha` and inputs.

    Parameters
    ----------
    values : what is smoothed. NaN that is not null (0 / 0) leaves the average as it is.
    alpha : weight of the newest observation: 2 / (n + 1) for an EMA, 1 / n for Wilder's smoothing.
    warmup : number of observations whose mean is the first result; the results before it are NaN.
    state : the average of each series before its first wanted row; NaN where there is none.

    Returns
    -------
    The averages of the wanted rows, in the unit of `values`.

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

    def seed(first: Floats) -> Floats:
        return _sum_in_order(first) / warmup

    values = _from_state(values, state)
    averages = _Recursion(_linear(alpha, 1 - alpha), warmup, seed).of(values, state)
    return _held(averages, values, state)[values.wanted]


def wilder_sum(values: Lists, n: int, state: Floats) -> Floats:
    """Wilder's running sum over about `n` rows, y[t] = y[t-1] - y[t-1] / n + x[t], seeded by the sum of n - 1 values.

    Parameters
    ----------
    values : what is summed.
    n : Wilder's period.
    state : the sum of each series before its first wanted row; NaN where there is none.

    Returns
    -------
    The sums of the wanted rows, in the unit of `values`; the first of a series is that of its nth observation.

    References
    ----------
    TA-Lib, `ta_PLUS_DI.c` and `ta_ADX.c`.
    """
    values = _from_state(values, state)
    recursion = _Recursion(_linear(1, 1 - 1 / n), n - 1, _sum_in_order, gives_seed=False)
    return recursion.of(values, state)[values.wanted]


def running_sum(values: Lists, state: Floats) -> Floats:
    """Sum of all observations so far. `state`: the sum of each series before its first wanted row; NaN: 0."""
    values = _from_state(values, state)
    return _Recursion(_linear(1, 1), 0, _sum_in_order).of(values, state)[values.wanted]


def running_max(values: Lists, state: Floats) -> Floats:
    """Greatest observation so far. `state`: that of each series before its first wanted row; NaN: none."""

    def run(matrix: Floats, before: Floats) -> Floats:
        return np.maximum.accumulate(np.maximum(matrix, before[:, None]), axis=1)

    values = _from_state(values, state)
    recursion = _Recursion(run, 0, lambda first: np.full(len(first), -np.inf))
    return recursion.of(values, state)[values.wanted]


def _from_state(values: Lists, state: Floats) -> Lists:
    """The series without what comes before their state."""
    return values.without_first(np.where(np.isnan(state), 0, values.lookback))


def _linear(gain: float, keep: float) -> Callable[[Floats, Floats], Floats]:
    def run(matrix: Floats, before: Floats) -> Floats:
        results: Floats = lfilter([gain], [1.0, -keep], matrix, axis=1, zi=keep * before[:, None])[0]
        return results

    return run


def _sum_in_order(matrix: Floats) -> Floats:
    return np.add.accumulate(matrix, axis=1)[:, -1] if matrix.shape[1] else np.zeros(len(matrix))


@dataclass(frozen=True)
class _Recursion:
    """A recursion, to be run on many series.

    Attributes
    ----------
    run : gives, of a matrix with a row a series and of the result before each row, the results.
    warmup : number of observations before the first that is run on without a state.
    seed : gives, of these, what is run on.
    gives_seed : whether the seed is the result of the last of them.
    """

    run: Callable[[Floats, Floats], Floats]
    warmup: int
    seed: Callable[[Floats], Floats]
    gives_seed: bool = True

    def of(self, values: Lists, state: Floats) -> Floats:
        """Results of all rows, from the state before them or from the seed."""
        silent = np.isnan(values.flat)
        if not silent.any():
            return self._of_numbers(values.flat, values.lengths, state)
        observed = np.flatnonzero(~silent)
        counts = np.searchsorted(observed, values.starts + values.lengths) - np.searchsorted(observed, values.starts)
        results = np.full(len(values.flat), np.nan)
        results[observed] = self._of_numbers(values.flat[observed], counts, state)
        return results

    def _of_numbers(self, numbers: Floats, counts: Integers, state: Floats) -> Floats:
        kinds = _kinds(counts, state, self.warmup)
        if len(kinds) and kinds[0] and (kinds == kinds[0]).all():
            return self._of_similar(numbers, counts, state)
        results = np.full(len(numbers), np.nan)
        for kind in np.unique(kinds[kinds != 0]):
            rows = kinds == kind
            cells = np.repeat(rows, counts)
            results[cells] = self._of_similar(numbers[cells], counts[rows], state[rows])
        return results

    def _of_similar(self, numbers: Floats, counts: Integers, state: Floats) -> Floats:
        matrix = _side_by_side(numbers, counts)
        if not np.isnan(state[0]):
            return _one_after_the_other(self.run(matrix, state), counts)
        before = self.seed(matrix[:, : self.warmup])
        early = np.full((len(matrix), self.warmup), np.nan)
        if self.gives_seed:
            early[:, -1:] = before[:, None]
        return _one_after_the_other(np.hstack([early, self.run(matrix[:, self.warmup :], before)]), counts)


def _kinds(counts: Integers, state: Floats, warmup: int) -> Integers:
    """A number that series of similar length share, if all have a state or all have none; 0: there is no result."""
    is_warm = ~np.isnan(state)
    lengths = np.frexp(np.where(is_warm | (counts >= warmup), counts, 0))[1]
    kinds: Integers = np.where(is_warm, lengths, -lengths)
    return kinds


def _side_by_side(numbers: Floats, counts: Integers) -> Floats:
    """A row for each series, with zeros behind the shorter ones."""
    if (counts == counts[0]).all():
        return numbers.reshape(len(counts), -1)
    cells = np.arange(counts.max()) < counts[:, None]
    matrix = np.zeros(cells.shape)
    matrix[cells] = numbers
    return matrix


def _one_after_the_other(matrix: Floats, counts: Integers) -> Floats:
    """The numbers of the rows without what is behind the shorter ones."""
    if (counts == counts[0]).all():
        return matrix.ravel()
    numbers: Floats = matrix[np.arange(counts.max()) < counts[:, None]]
    return numbers


def _held(averages: Floats, values: Lists, state: Floats) -> Floats:
    """The averages, and the one before in the place of a NaN that is not null."""
    silent = np.isnan(values.flat)
    if len(values.missing):
        silent &= ~values.missing
    at = np.flatnonzero(silent)
    if len(at):
        row = np.arange(len(averages))
        latest = np.maximum.accumulate(np.where(np.isnan(averages), -1, row))[at]
        series = np.searchsorted(values.starts, at, side="right") - 1
        averages[at] = np.where(latest >= values.starts[series], averages[latest], state[series])
    return averages
