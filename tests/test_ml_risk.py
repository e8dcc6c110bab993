"""Risk: tail losses mean what they say, and their tests are those of the papers."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.risk import TailRisk, backtest, christoffersen, conditional_coverage, kupiec


def test_of_normal_returns_the_tail_is_that_of_the_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    volatility = np.exp(rng.normal(-4, 0.5, 400_000))
    returns = volatility * rng.standard_normal(len(volatility))
    for level in (0.95, 0.99):
        risk = TailRisk.of(returns, volatility, level)
        z = stats.norm.ppf(level)
        assert risk.value_at_risk == pytest.approx(z, rel=0.01)
        assert risk.expected_shortfall == pytest.approx(stats.norm.pdf(z) / (1 - level), rel=0.01)


def test_exactly_the_promised_share_of_the_past_is_worse() -> None:
    returns = np.random.default_rng(1).standard_t(3, 1000)
    risk = TailRisk.of(returns, np.ones(1000), 0.95)
    assert (-returns > risk.value_at_risk).sum() == 50
    assert risk.expected_shortfall == pytest.approx(-np.sort(returns)[:50].mean())
    with pytest.raises(ValueError, match="needs more than 50"):
        TailRisk.of(returns[:50], np.ones(50), 0.99)


def test_kupiec_by_hand() -> None:
    """T = 255, 99 %: the table of the paper does not reject fewer than 7 exceedances, and rejects 7."""
    for hits in (1, 4, 6, 7, 12):
        exceeded = np.arange(255) < hits
        ratio = stats.binom.logpmf(hits, 255, hits / 255) - stats.binom.logpmf(hits, 255, 0.01)
        assert kupiec(exceeded, 0.99).statistic == pytest.approx(2 * ratio)
        assert (kupiec(exceeded, 0.99).p_value < 0.05) == (hits >= 7)
    assert kupiec(np.zeros(255, bool), 0.99).statistic == pytest.approx(-2 * 255 * np.log(0.99))


def test_clusters_are_found_and_single_exceedances_are_not_clusters() -> None:
    spread = np.zeros(1000, bool)
    spread[::20] = True
    cluster = np.zeros(1000, bool)
    cluster[400:450] = True
    assert kupiec(spread, 0.95) == kupiec(cluster, 0.95)
    assert kupiec(spread, 0.95).p_value == pytest.approx(1.0)
    assert christoffersen(cluster).p_value < 1e-6
    both = conditional_coverage(cluster, 0.95)
    assert both.statistic == pytest.approx(christoffersen(cluster).statistic)
    assert christoffersen(np.zeros(100, bool)).p_value == 1.0


def test_the_tests_reject_a_right_model_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    runs = [rng.random(2000) < 0.05 for _ in range(400)]
    for p_values in ([kupiec(e, 0.95).p_value for e in runs], [christoffersen(e).p_value for e in runs]):
        assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def test_a_backtest_passes_a_right_volatility_and_rejects_half_of_it() -> None:
    rng = np.random.default_rng(4)
    ts = pd.bdate_range("2010-01-01", "2018-12-31", tz="UTC")
    parts = []
    for symbol in ("A", "B"):
        volatility = np.exp(rng.normal(-4, 0.3, len(ts)))
        outcome = volatility * rng.standard_t(5, len(ts))
        parts.append(
            pd.DataFrame({"symbol": symbol, "ts": ts, "known_at": ts, "outcome": outcome, "volatility": volatility})
        )
    right = pd.concat(parts)
    found = backtest(right, horizon=1, first_year=2012, level=0.95).set_index("symbol")
    assert found["exceeded"].between(0.035, 0.065).all()
    assert found["shortfall"].between(0.9, 1.1).all()
    assert (found[["kupiec", "christoffersen"]] > 0.01).all(axis=None)
    too_calm = right.assign(volatility=right["volatility"].where(right["ts"].dt.year < 2012, right["volatility"] / 2))
    worse = backtest(too_calm, horizon=1, first_year=2012, level=0.95)
    assert (worse["kupiec"] < 0.01).any()
    of_a_year = right[right["ts"].dt.year < 2014].assign(known_at=lambda rows: rows["ts"] + pd.Timedelta(days=7))
    changed = of_a_year.assign(outcome=of_a_year["outcome"].where(of_a_year["known_at"].dt.year < 2013, -9.0))
    late = backtest(changed, horizon=1, first_year=2013, level=0.95)
    assert late["exceeded"].min() > 0.97, "what was known in 2013 only does not raise the value at risk of 2013"
