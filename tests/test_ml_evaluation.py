"""Evaluation and intervals: against independent, slower computations of the same formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.datasets import TARGETS
from ml.evaluation import bootstrap_difference, loss, qlike, return_metrics, volatility_metrics
from ml.intervals import LEVELS, Conformal, calibrate, coverage, quantile

RNG = np.random.default_rng(7)


def test_return_scores_equal_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    outcome = RNG.normal(0.002, 0.04, 500)
    mean = outcome * 0.1 + RNG.normal(0, 0.01, 500)
    scores = return_metrics(outcome, mean, historical_mean=float(outcome.mean()))
    assert scores["rmse"] == pytest.approx(root_mean_squared_error(outcome, mean))
    assert scores["mae"] == pytest.approx(mean_absolute_error(outcome, mean))
    assert scores["r2_vs_mean"] == pytest.approx(r2_score(outcome, mean))
    assert scores["rmse_ratio_to_zero"] == pytest.approx(scores["rmse"] / root_mean_squared_error(outcome, 0 * mean))
    assert scores["directional_accuracy"] == np.mean(
        [np.sign(m) == np.sign(y) for m, y in zip(mean, outcome, strict=True)]
    )


def test_always_up_scores_exactly_the_base_rate() -> None:
    outcome = RNG.normal(0.002, 0.04, 500)
    scores = return_metrics(outcome, np.full(500, 0.001), 0.001)
    assert scores["directional_accuracy"] == scores["directional_base_rate"] == np.mean(outcome > 0)


def test_qlike_is_the_gamma_deviance_of_the_variance() -> None:
    from sklearn.metrics import mean_gamma_deviance

    outcome, mean = RNG.uniform(0.01, 0.1, 300), RNG.uniform(0.01, 0.1, 300)
    assert qlike(outcome, mean).mean() == pytest.approx(mean_gamma_deviance(outcome**2, mean**2) / 2)
    assert (qlike(outcome, outcome) == 0).all()
    assert volatility_metrics(outcome, outcome, mean)["qlike_gain_vs_ewma"] == 1.0
    assert volatility_metrics(outcome, mean, mean)["qlike_gain_vs_ewma"] == 0.0


def test_each_target_has_its_loss() -> None:
    outcome, mean = np.array([0.02, 0.03]), np.array([0.01, 0.05])
    np.testing.assert_allclose(loss(TARGETS["return_5d"], outcome, mean), [1e-4, 4e-4])
    np.testing.assert_allclose(loss(TARGETS["volatility_5d"], outcome, mean), qlike(outcome, mean))


def test_the_bootstrap_resamples_whole_sessions_in_blocks() -> None:
    """Against a slow version that draws the blocks one by one."""
    ts = np.repeat(np.datetime64("2020-01-01") + np.arange(40), RNG.integers(1, 6, 40))
    difference = RNG.normal(0.1, 1, len(ts))
    mean, lower, upper = bootstrap_difference(difference, ts, seed=3, block=6, draws=200)
    sessions = [difference[ts == day] for day in np.unique(ts)]
    starts = np.random.default_rng(3).integers(0, 40, size=(200, 7))
    means = [np.concatenate([sessions[(s + k) % 40] for s in row for k in range(6)]).mean() for row in starts]
    assert mean == pytest.approx(difference.mean())
    assert (lower, upper) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_symbols_that_move_together_count_as_one() -> None:
    daily = RNG.normal(0, 1, 200)
    days = np.datetime64("2020-01-01") + np.arange(200)
    alone = bootstrap_difference(daily, days, seed=0)
    together = bootstrap_difference(np.tile(daily, 20), np.tile(days, 20), seed=0)
    assert together == pytest.approx(alone)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=40, max_size=200), st.sampled_from(LEVELS))
def test_the_conformal_quantile_is_the_smallest_that_covers_enough(scores: list[float], level: float) -> None:
    q = quantile(np.array(scores), level)
    need = level * (len(scores) + 1)
    slow = next(s for s in sorted(scores) if sum(x <= s for x in scores) >= need - 1e-9)
    assert q == slow


def test_too_few_scores_have_no_finite_interval() -> None:
    assert quantile(np.arange(19.0), 0.95) == 18.0
    with pytest.raises(ValueError, match="more than 18"):
        quantile(np.arange(18.0), 0.95)


def test_return_intervals_widen_with_the_volatility_forecast_and_cover() -> None:
    scale = RNG.uniform(0.01, 0.08, 20_000)
    outcome = RNG.standard_t(4, 20_000) * scale
    mean = np.zeros(20_000)
    first, second = slice(0, 10_000), slice(10_000, None)
    state = calibrate(outcome[first], mean[first], scale[first], scaled_by=("volatility_5d", "3"))
    bounds = state.intervals(mean[second], scale[second])
    np.testing.assert_allclose(coverage(outcome[second], bounds), LEVELS, atol=0.015)
    np.testing.assert_allclose(bounds[:, 1, 1] / scale[second], state.quantiles[1])
    with pytest.raises(ValueError, match="volatility forecast"):
        state.intervals(mean[second])


def test_volatility_intervals_are_factors_and_cover() -> None:
    mean = RNG.uniform(0.01, 0.08, 20_000)
    outcome = mean * np.exp(RNG.normal(0, 0.4, 20_000))
    state = calibrate(outcome[:10_000], mean[:10_000], None)
    bounds = state.intervals(mean[10_000:])
    np.testing.assert_allclose(coverage(outcome[10_000:], bounds), LEVELS, atol=0.015)
    np.testing.assert_allclose(bounds[:, :, 0] * bounds[:, :, 1], np.repeat(mean[10_000:, None] ** 2, 3, axis=1))
    assert (bounds > 0).all()


def test_the_state_survives_json() -> None:
    import json
    from dataclasses import asdict

    for scaled_by in (None, ("volatility_5d", "3")):
        state = Conformal("additive", LEVELS, tuple(range(99)), 500, scaled_by)
        assert Conformal.from_dict(json.loads(json.dumps(asdict(state)))) == state
