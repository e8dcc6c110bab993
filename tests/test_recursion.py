"""The recursions: equal to TA-Lib, to a plain loop, and to themselves when a series arrives in pieces."""

from collections.abc import Callable

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from lake import recursion
from lake.lists import Floats, Lists

Series = list[float | None]
Recursion = Callable[[Lists, Floats], Floats]

SERIES = st.lists(st.none() | st.floats(0.01, 1e6), max_size=60)
RECURSIONS: dict[str, Recursion] = {
    "smooth": lambda values, state: recursion.smooth(values, 0.1, 5, state),
    "wilder_sum": lambda values, state: recursion.wilder_sum(values, 5, state),
    "running_sum": recursion.running_sum,
    "running_max": recursion.running_max,
}
COLD = np.array([np.nan])


def of_one(function: Recursion, values: Series, lookback: int = 0, state: float = np.nan) -> Floats:
    return function(Lists.of([values], lookback), np.array([state]))


def plain_loop(name: str, values: Series) -> list[float]:
    """The definitions with alpha 0.1, n and warmup 5, a row at a time."""
    results: list[float] = []
    seen: Series = []
    state = np.nan
    for value in values:
        if value is None:
            results.append(np.nan)
            continue
        seen.append(value)
        known = len(seen)
        if name == "smooth":
            state = state + 0.1 * (value - state) if known > 5 else sum(seen) / 5
            results.append(state if known >= 5 else np.nan)
        elif name == "wilder_sum":
            state = state - state / 5 + value if known >= 5 else sum(seen)
            results.append(state if known >= 5 else np.nan)
        elif name == "running_sum":
            results.append(sum(seen))
        else:
            results.append(max(seen))
    return results


def random_walk(rows: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """High, low and close of a made-up series."""
    noise = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(noise.normal(0, 0.02, rows)))
    return close * np.exp(noise.uniform(0, 0.02, rows)), close * np.exp(-noise.uniform(0, 0.02, rows)), close


@pytest.mark.parametrize("rows", [1, 11, 12, 26, 34, 1000])
@pytest.mark.parametrize("period", [2, 12, 26, 50])
def test_ema_is_that_of_talib(rows: int, period: int) -> None:
    close = random_walk(rows, seed=period)[2]
    ours = recursion.smooth(Lists.of([close]), 2 / (period + 1), period, COLD)
    np.testing.assert_allclose(ours, talib.EMA(close, period), rtol=1e-12)


@pytest.mark.parametrize("rows", [14, 15, 1000])
def test_wilders_sum_gives_the_directional_indicator_of_talib(rows: int) -> None:
    high, low, close = random_walk(rows, seed=rows)
    up, down = np.diff(high, prepend=np.nan), -np.diff(low, prepend=np.nan)
    movement = np.where(np.isnan(up), np.nan, np.where((up > down) & (up > 0), up, 0))
    ours, ranges = (
        recursion.wilder_sum(Lists.of([[None, *values[1:]]]), 14, COLD)
        for values in (movement, talib.TRANGE(high, low, close))
    )
    np.testing.assert_allclose(100 * ours / ranges, talib.PLUS_DI(high, low, close, 14), rtol=1e-9)


@pytest.mark.parametrize("name", RECURSIONS)
@given(SERIES)
def test_it_is_the_plain_loop_and_passes_over_nulls(name: str, values: Series) -> None:
    np.testing.assert_allclose(of_one(RECURSIONS[name], values), plain_loop(name, values), rtol=1e-9)


@pytest.mark.parametrize("name", RECURSIONS)
@given(SERIES, st.data())
def test_a_series_in_pieces_gives_the_same_bits(name: str, values: Series, data: st.DataObject) -> None:
    whole = of_one(RECURSIONS[name], values)
    known = np.flatnonzero(~np.isnan(whole))
    if len(known):
        last = data.draw(st.sampled_from(known.tolist()), label="last row of the first piece")
        lookback = data.draw(st.integers(0, last + 1), label="rows before the second piece that are given with it")
        rest = of_one(RECURSIONS[name], values[last + 1 - lookback :], lookback, whole[last])
        assert np.array_equal(rest, whole[last + 1 :], equal_nan=True)


@pytest.mark.parametrize("name", RECURSIONS)
@given(SERIES, st.integers(0, 60))
def test_the_future_does_not_change_the_past(name: str, values: Series, cut: int) -> None:
    ours, all_of_them = (of_one(RECURSIONS[name], some) for some in (values[:cut], values))
    assert np.array_equal(ours, all_of_them[: len(ours)], equal_nan=True)


@pytest.mark.parametrize("name", RECURSIONS)
@given(st.lists(st.tuples(SERIES, st.none() | st.floats(1, 9)), max_size=8), st.integers(0, 12))
def test_many_series_at_once_are_each_what_they_are_alone(
    name: str, series: list[tuple[Series, float | None]], lookback: int
) -> None:
    """Of different lengths, some with a state, some from their first row on."""
    states = [np.nan if state is None else state for _, state in series]
    together = RECURSIONS[name](Lists.of([values for values, _ in series], lookback), np.array(states))
    alone = [
        of_one(RECURSIONS[name], values, lookback, state) for (values, _), state in zip(series, states, strict=True)
    ]
    assert np.array_equal(together, np.concatenate([*alone, []]), equal_nan=True)


def test_what_cannot_be_computed_leaves_an_average_as_it_is() -> None:
    values: Series = [np.nan, 1.0, 3.0, np.nan, None, np.nan, 4.0]
    assert recursion.smooth(Lists.of([values]), 0.5, 2, COLD).tolist()[2:] == pytest.approx(
        [2, 2, np.nan, 2, 3], nan_ok=True
    )
    assert of_one(lambda it, state: recursion.smooth(it, 0.5, 2, state), [1.0, np.nan, 3.0], 1, 5.0).tolist() == [5, 4]


@pytest.mark.parametrize(("alpha", "warmup", "name"), [(0.0, 5, "alpha"), (1.5, 5, "alpha"), (0.5, 0, "warmup")])
def test_wrong_parameters_are_named(alpha: float, warmup: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        recursion.smooth(Lists.of([[1.0] * 10]), alpha, warmup, COLD)
