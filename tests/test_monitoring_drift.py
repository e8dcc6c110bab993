"""Drift: an alarm when the market leaves the range of its own past, and silence otherwise."""

from math import ceil, floor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import drift
from monitoring.drift import MONITORS, NotEnoughHistoryError, data_drift

SESSIONS = 820  # 105 past windows


def features(returns: pd.DataFrame) -> pd.DataFrame:
    """Long features of daily log returns (sessions, symbols); NaN where a series does not trade."""
    volatility = np.sqrt((returns**2).ewm(alpha=0.06).mean())
    columns = {f"log_return_{n}": returns.rolling(n).sum() for n in (1, 5, 20)}
    columns |= {f"scaled_return_{n}": columns[f"log_return_{n}"] / volatility / np.sqrt(n) for n in (1, 5, 20)}
    columns["log_vol_5"] = 0.5 * np.log((returns**2).rolling(5).mean().clip(lower=1e-8))
    long = pd.DataFrame({name: wide.stack(future_stack=True) for name, wide in columns.items()})
    return long.rename_axis(["ts", "symbol"]).dropna(subset="log_return_1").reset_index()


def market(seed: int, sessions: int = SESSIONS, symbols: int = 6) -> pd.DataFrame:
    """Daily log returns of a calm market: one common factor, 1 % a day, the same law on every day."""
    random = np.random.default_rng(seed)
    values = 0.007 * (random.standard_normal((sessions, 1)) + random.standard_normal((sessions, symbols)))
    days = pd.bdate_range("2010-01-04", periods=sessions, tz="UTC")
    return pd.DataFrame(values, index=days, columns=[f"S{i}" for i in range(symbols)])


samples = st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=1, max_size=12).map(np.array)


def slow_distance(current: np.ndarray, reference: np.ndarray) -> float:
    """Both samples repeated to the same length: then the distance pairs the k-th smallest of each."""
    pairs = zip(sorted(np.repeat(current, reference.size)), sorted(np.repeat(reference, current.size)), strict=True)
    return float(np.mean([abs(a - b) for a, b in pairs])) / max(float(np.std(reference)), 0.001)


@given(current=samples, reference=samples)
def test_the_distance_equals_pairing_the_sorted_samples(current: np.ndarray, reference: np.ndarray) -> None:
    assert drift.distance(current, reference) == pytest.approx(slow_distance(current, reference), rel=1e-9, abs=1e-9)


def test_thresholds_come_from_windows_that_ended_before_the_newest_began() -> None:
    returns = market(1)
    table = features(returns)
    report = data_drift(table)

    days = sorted(table.dropna().ts.unique())
    past = []
    for end in range(len(days) - 25, 272, -5):  # 25: the first multiple of 5 that leaves 21 sessions free
        rows = table[table.ts.isin(days[end - 21 : end])]
        before = table[table.ts.isin(days[end - 273 : end - 21])]
        past.append([slow_distance_by_quantiles(rows[c], before[c]) for c in MONITORS])
    assert len(report.history) == len(past)
    assert report.history.index.max() == days[-26] < report.current_span[0]
    np.testing.assert_allclose(report.history.to_numpy()[::-1], past, rtol=1e-9)
    for monitor, distances in zip(report.monitors, np.transpose(past), strict=True):
        place, ranked = 0.99 * (len(past) - 1), sorted(distances)
        low, high = ranked[floor(place)], ranked[ceil(place)]
        assert monitor.threshold == pytest.approx(low + (high - low) * (place - floor(place)))


def slow_distance_by_quantiles(current: pd.Series, reference: pd.Series) -> float:
    """The same distance as SciPy computes it."""
    from scipy.stats import wasserstein_distance

    current, reference = current.dropna(), reference.dropna()
    return float(wasserstein_distance(current, reference)) / max(float(np.std(reference)), 0.001)


def test_a_market_that_stays_the_same_is_left_in_peace() -> None:
    alarms = [data_drift(features(market(seed))).alarm for seed in range(15)]
    assert sum(alarms) <= 2


@pytest.mark.parametrize("seed", range(3))
def test_a_volatility_shock_raises_the_alarm(seed: int) -> None:
    returns = market(seed)
    returns.iloc[-21:] *= 3
    report = data_drift(features(returns))
    assert report.alarm
    assert "log_return_1" in report.drifted
    assert report.share == len(report.drifted) / len(MONITORS) > 0
    assert report.worst.exceedance > 1
    assert "ALARM" in report.summary


def test_series_that_ended_or_began_in_between_are_left_out() -> None:
    returns = market(3)
    returns.loc[returns.index[-40] :, "S0"] = np.nan  # ended two months ago
    returns.loc[: returns.index[-100], "S1"] = np.nan  # listed last quarter, and wild
    returns["S1"] *= 10
    report = data_drift(features(returns))
    assert report.symbols == ("S2", "S3", "S4", "S5")
    assert not report.alarm
    assert len(report.current) == 21 * 4
    assert len(report.reference) == 252 * 4


def test_the_past_of_a_few_series_sets_no_threshold_for_many() -> None:
    returns = market(9)
    returns.iloc[:400, 2:] = np.nan
    report = data_drift(features(returns))
    assert report.history.index.min() > returns.index[400 + int(0.9 * 252)]
    assert not report.calibrated


def test_one_series_with_a_day_of_its_own_makes_no_session() -> None:
    returns = market(4)
    returns.loc[returns.index[-1] + pd.Timedelta(days=1)] = [0.01] + [np.nan] * 5
    assert data_drift(features(returns)).current_span[1] == returns.index[-2]


def test_what_the_report_says_does_not_depend_on_the_order_of_the_rows() -> None:
    table = features(market(5))
    assert data_drift(table.sample(frac=1, random_state=0)).document() == data_drift(table).document()


def test_large_windows_are_sampled_the_same_way_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = features(market(6))
    monkeypatch.setattr(drift, "MAX_ROWS", 100)
    report = data_drift(table)
    assert len(report.current) == len(report.reference) == 100
    assert report.document() == data_drift(table).document()
    assert report.document() != data_drift(table, seed=1).document()


def test_a_short_history_gives_distances_but_no_alarm() -> None:
    returns = market(7, sessions=400)
    returns.iloc[-21:] *= 5
    report = data_drift(features(returns))
    assert not report.calibrated
    assert not report.alarm
    assert all(m.distance > 0 and m.threshold is None for m in report.monitors)


def test_a_history_of_less_than_a_year_is_refused_with_the_reason() -> None:
    with pytest.raises(NotEnoughHistoryError, match="needs 273 sessions"):
        data_drift(features(market(8, sessions=200)))


def test_alarms_are_rare_on_real_prices_and_name_the_crises() -> None:
    from skfolio.datasets import load_sp500_dataset

    prices = load_sp500_dataset().loc["2000":].tz_localize("UTC")
    report = data_drift(features(np.log(prices).diff()))
    alarms = {
        end: bool((report.history.iloc[i] >= pd.Series(drift.thresholds(report.history.iloc[: i - 4]))).any())
        for i, end in enumerate(report.history.index)
        if i >= drift.MIN_HISTORY + 4  # a window shares sessions with the four before it
    }
    share = np.mean(list(alarms.values()))
    assert 0.02 < share < 0.07
    years = {end.year for end, alarm in alarms.items() if alarm}
    assert {2008, 2020} <= years
    assert not years & {2004, 2005, 2006, 2014, 2015, 2017, 2019, 2021}
