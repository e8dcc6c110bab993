"""The recursive primitive: equal to TA-Lib, to a plain loop, and to itself when a series arrives in pieces."""

from collections.abc import Callable

import duckdb
import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from lake.recursion import Floats, register, smooth

PRICES = st.lists(st.none() | st.floats(0.01, 1e6), max_size=60)
ALPHAS = st.floats(0.01, 1.0)
WARMUPS = st.integers(1, 20)


def random_walk(rows: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """High, low and close of a made-up series."""
    noise = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(noise.normal(0, 0.02, rows)))
    return close * np.exp(noise.uniform(0, 0.02, rows)), close * np.exp(-noise.uniform(0, 0.02, rows)), close


def plain_loop(values: list[float | None], alpha: float, warmup: int) -> list[float | None]:
    """The definition, a row at a time."""
    results: list[float | None] = []
    seeds: list[float] = []
    state = None
    for value in values:
        if value is None:
            results.append(None)
            continue
        if state is not None:
            state += alpha * (value - state)
        else:
            seeds.append(value)
            if len(seeds) == warmup:
                state = sum(seeds) / warmup
        results.append(state)
    return results


def as_floats(values: list[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


@pytest.mark.parametrize("rows", [1, 11, 12, 26, 34, 1000])
@pytest.mark.parametrize("period", [2, 12, 26, 50])
def test_ema_is_that_of_talib(rows: int, period: int) -> None:
    close = random_walk(rows, seed=period)[2]
    np.testing.assert_allclose(smooth(close, 2 / (period + 1), period), talib.EMA(close, period), rtol=1e-12)


@pytest.mark.parametrize("rows", [14, 15, 1000])
def test_wilders_smoothing_gives_the_rsi_and_atr_of_talib(rows: int) -> None:
    high, low, close = random_walk(rows, seed=rows)
    change = np.diff(close, prepend=np.nan)
    gain, loss = (smooth(np.maximum(side, 0), 1 / 14, 14) for side in (change, -change))
    np.testing.assert_allclose(100 * gain / (gain + loss), talib.RSI(close, 14), rtol=1e-9)
    np.testing.assert_allclose(
        smooth(talib.TRANGE(high, low, close), 1 / 14, 14), talib.ATR(high, low, close, 14), rtol=1e-9
    )


@given(PRICES, ALPHAS, WARMUPS)
def test_it_is_the_plain_loop_and_passes_over_nulls(values: list[float | None], alpha: float, warmup: int) -> None:
    np.testing.assert_allclose(
        smooth(as_floats(values), alpha, warmup), as_floats(plain_loop(values, alpha, warmup)), rtol=1e-9
    )


@given(PRICES, ALPHAS, WARMUPS, st.data())
def test_a_series_in_pieces_gives_the_same_bits(
    values: list[float | None], alpha: float, warmup: int, data: st.DataObject
) -> None:
    series = as_floats(values)
    whole = smooth(series, alpha, warmup)
    known = np.flatnonzero(~np.isnan(whole))
    if len(known):
        cut = data.draw(st.sampled_from(known.tolist()), label="last row of the first piece")
        rest = smooth(series[cut + 1 :], alpha, warmup, state=whole[cut])
        assert np.array_equal(rest, whole[cut + 1 :], equal_nan=True)


@given(PRICES, ALPHAS, WARMUPS, st.integers(0, 60))
def test_the_future_does_not_change_the_past(values: list[float | None], alpha: float, warmup: int, cut: int) -> None:
    series = as_floats(values)
    assert np.array_equal(smooth(series[:cut], alpha, warmup), smooth(series, alpha, warmup)[:cut], equal_nan=True)


@pytest.mark.parametrize(("alpha", "warmup", "name"), [(0.0, 5, "alpha"), (1.5, 5, "alpha"), (0.5, 0, "warmup")])
def test_wrong_parameters_are_named(alpha: float, warmup: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        smooth(np.ones(10), alpha, warmup)


@pytest.fixture
def query() -> Callable[[str], list[tuple[object, ...]]]:
    connection = duckdb.connect()
    register(connection)
    return lambda sql: connection.execute(sql).fetchall()


def test_sql_smooths_a_list_for_each_series(query: Callable[[str], list[tuple[object, ...]]]) -> None:
    rows = query("""
        select symbol, smooth(list(x order by i), 0.5, 2, null)
        from (values ('A', 1, 1.0), ('A', 2, 3.0), ('A', 3, null), ('A', 4, 4.0), ('B', 1, 5.0)) as t (symbol, i, x)
        group by symbol order by symbol
    """)
    assert rows == [("A", [None, 2.0, None, 3.0]), ("B", [None])]


def test_sql_continues_from_a_state(query: Callable[[str], list[tuple[object, ...]]]) -> None:
    assert query("select smooth([4.0, null, 5.0], 0.5, 14, 2.0)") == [([3.0, None, 4.0],)]


def test_sql_takes_empty_and_missing_lists(query: Callable[[str], list[tuple[object, ...]]]) -> None:
    rows = query("select smooth(x, 0.5, 1, null) from (values ([]::double[]), (null), ([2.0])) as t (x)")
    assert rows == [([],), (None,), ([2.0],)]


def test_sql_agrees_with_numpy_on_many_series(query: Callable[[str], list[tuple[object, ...]]]) -> None:
    """More series than DuckDB hands over at once, each of its own length."""
    rows = query("""
        select x, smooth(x, 0.1, 5, null)
        from (select list(sin(i * s) order by i) as x from range(3000) as s (s), range(20) as i (i)
              where i <= s % 20 group by s)
    """)
    assert len(rows) == 3000
    for values, results in rows:
        assert isinstance(values, list)
        assert isinstance(results, list)
        np.testing.assert_array_equal(as_floats(results), smooth(as_floats(values), 0.1, 5))


def test_registering_twice_is_harmless() -> None:
    connection = duckdb.connect()
    register(connection)
    register(connection)
    register(connection.cursor())
    assert connection.cursor().execute("select smooth([1.0], 0.5, 1, null)").fetchone() == ([1.0],)
