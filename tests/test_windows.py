"""The windows: equal to an exact reference, null unless full, and the same bits whatever is computed beside them."""

from collections.abc import Callable
from fractions import Fraction
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import windows
from lake.lists import Floats, Lists

Series = list[float | None]
SERIES = st.lists(st.none() | st.floats(-1e9, 1e9, allow_subnormal=False), max_size=40)


def root(square: Fraction) -> float:
    return float(square) ** 0.5


def squares(window: list[Fraction]) -> Fraction:
    return sum(((value - mean(window)) ** 2 for value in window), Fraction(0))


# In exact arithmetic: what each function makes of one full window.
WINDOWS: dict[Callable[..., Floats], Callable[[list[Fraction]], float]] = {
    windows.rolling_sum: lambda window: float(sum(window)),
    windows.rolling_mean: lambda window: float(mean(window)),
    windows.rolling_wma: lambda window: float(
        sum(weight * value for weight, value in enumerate(window, start=1)) / sum(range(len(window) + 1))
    ),
    windows.rolling_min: lambda window: float(min(window)),
    windows.rolling_max: lambda window: float(max(window)),
    windows.rolling_var: lambda window: float(squares(window) / (len(window) - 1)),
    windows.rolling_std: lambda window: root(squares(window) / (len(window) - 1)),
    windows.rolling_std_pop: lambda window: root(squares(window) / len(window)),
    windows.rolling_mean_deviation: lambda window: float(mean(abs(value - mean(window)) for value in window)),
}


def windows_of(values: Series, n: int) -> list[Series]:
    return [values[max(end - n, 0) : end] for end in range(1, len(values) + 1)]


@pytest.mark.parametrize("function", WINDOWS)
@given(SERIES, st.integers(2, 9))
def test_it_is_exact_and_null_unless_all_values_are_there(
    function: Callable[..., Floats], values: Series, n: int
) -> None:
    results = function(Lists.of([values]), n)
    for result, window in zip(results, windows_of(values, n), strict=True):
        known = [Fraction(value) for value in window if value is not None]
        expected = WINDOWS[function](known) if len(known) == n else np.nan
        scale = max((abs(float(value)) for value in known), default=0.0)
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-13 * scale)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=5, max_size=40))
def test_covariance_is_that_of_numpy_and_of_a_series_with_itself_its_variance(pairs: list[tuple[float, float]]) -> None:
    x, y = zip(*pairs, strict=True)
    expected = [np.cov(x[end - 5 : end], y[end - 5 : end])[0, 1] for end in range(5, len(x) + 1)]
    np.testing.assert_allclose(windows.rolling_cov(Lists.of([x]), Lists.of([y]), 5)[4:], expected, atol=1e-12)
    own = windows.rolling_cov(Lists.of([x]), Lists.of([x]), 5)
    np.testing.assert_allclose(own, windows.rolling_var(Lists.of([x]), 5), rtol=1e-12, atol=1e-15)


def test_a_lag_counts_rows_whether_they_have_a_value_or_not() -> None:
    assert windows.lagged(Lists.of([[1.0, 2.0, 3.0, 4.0]]), 2)[2:].tolist() == [1, 2]
    np.testing.assert_array_equal(windows.lagged(Lists.of([[1.0, None, 3.0]]), 1), [np.nan, 1, np.nan])


@pytest.mark.parametrize("function", WINDOWS)
@given(st.lists(st.tuples(SERIES, st.integers(0, 40)), max_size=6), st.integers(2, 9))
def test_bits_depend_on_the_values_of_the_window_only(
    function: Callable[..., Floats], series: list[tuple[Series, int]], n: int
) -> None:
    """Of some series only the last rows, beside others, with no more before them than a window needs."""
    whole = [function(Lists.of([values]), n)[min(first, len(values)) :] for values, first in series]
    starts = [max(min(first, len(values)) - n + 1, 0) for values, first in series]
    cut = [values[start:] for (values, _), start in zip(series, starts, strict=True)]
    lists = Lists.of(cut)
    lookback = np.array(
        [min(first, len(values)) - start for (values, first), start in zip(series, starts, strict=True)], dtype=np.int64
    )
    results = function(Lists(lists.flat, lists.lengths, lookback, lists.missing), n)
    assert np.array_equal(results, np.concatenate([*whole, []]), equal_nan=True)


def test_a_constant_has_no_deviation_and_one_null_costs_one_window() -> None:
    constant = Lists.of([[0.1] * 30])
    assert not windows.rolling_std(constant, 20)[19:].any()
    interrupted = windows.rolling_mean(Lists.of([[1.0] * 10 + [None] + [1.0] * 10]), 4)
    assert np.flatnonzero(np.isnan(interrupted)).tolist() == [0, 1, 2, 10, 11, 12, 13]


def test_a_window_has_rows() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        windows.rolling_mean(Lists.of([[1.0]]), 0)
