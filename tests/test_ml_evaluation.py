"""Evaluation: every score and test against an independent, slower computation, another library, or its paper."""

import numpy as np
import pytest
from scipy import stats

from ml.datasets import TARGETS
from ml.evaluation import (
    bootstrap_difference,
    bootstrap_gain,
    clark_west,
    deflated_sharpe_ratio,
    diebold_mariano,
    direction_report,
    holm,
    interval_metrics,
    interval_score,
    loss,
    mincer_zarnowitz,
    model_confidence_set,
    probabilistic_sharpe_ratio,
    qlike,
    rank_ic,
    return_metrics,
    superior_predictive_ability,
    volatility_metrics,
)
from ml.evaluation.sharpe import confidence, expected_maximum

RNG = np.random.default_rng(7)
SYMBOLS, SESSIONS, HORIZON = 6, 300, 5
TS = np.tile(np.datetime64("2020-01-01") + np.arange(SESSIONS), SYMBOLS)


def overlapping(size: int, scale: float = 1.0) -> np.ndarray:
    """Noise that is correlated over the horizon, as errors of 5-day forecasts are."""
    return np.convolve(RNG.normal(0, scale, size + HORIZON - 1), np.ones(HORIZON), mode="valid")


def by_session(values: np.ndarray) -> np.ndarray:
    return np.array([values[day == TS].mean() for day in np.unique(TS)])


def hac_t(series: np.ndarray) -> float:
    """t statistic of a mean, by statsmodels."""
    from statsmodels.regression.linear_model import OLS

    fitted = OLS(series, np.ones(len(series))).fit(
        cov_type="HAC", cov_kwds={"maxlags": HORIZON - 1, "kernel": "uniform"}, use_t=True
    )
    return float(fitted.tvalues[0])


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


def test_the_bootstrap_of_a_gain_resamples_both_losses_alike() -> None:
    """Against a slow version; of a model that always loses half, every resample says a half."""
    own, reference = RNG.gamma(2, 1, len(TS)), RNG.gamma(2, 2, len(TS))
    value, lower, upper = bootstrap_gain(own, reference, TS, seed=3, block=7, draws=100)
    starts = np.random.default_rng(3).integers(0, SESSIONS, size=(100, -(-SESSIONS // 7)))
    a, b = by_session(own), by_session(reference)
    picked = [[(s + k) % SESSIONS for s in row for k in range(7)] for row in starts]
    gains = [1 - a[days].sum() / b[days].sum() for days in picked]
    assert value == pytest.approx(1 - own.mean() / reference.mean())
    assert (lower, upper) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])))
    assert bootstrap_gain(reference / 2, reference, TS, seed=0) == pytest.approx((0.5, 0.5, 0.5))


def test_diebold_mariano_equals_statsmodels_with_the_small_sample_correction() -> None:
    common = np.tile(overlapping(SESSIONS), SYMBOLS)
    own, reference = common + RNG.normal(0.2, 1, len(TS)), np.zeros(len(TS))
    found = diebold_mariano(own, reference, TS, HORIZON)
    n, h = SESSIONS, HORIZON
    expected = hac_t(by_session(own)) * np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(2 * stats.t(n - 1).cdf(-abs(expected)))
    assert diebold_mariano(reference, own, TS, HORIZON).statistic == pytest.approx(-found.statistic)


def test_equal_forecasts_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="not positive"):
        diebold_mariano(np.ones(len(TS)), np.ones(len(TS)), TS, HORIZON)


def test_a_test_of_equal_accuracy_rejects_as_often_as_it_says() -> None:
    days = np.datetime64("2020-01-01") + np.arange(400)
    rejected = [diebold_mariano(overlapping(400), np.zeros(400), days, HORIZON).p_value < 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(rejected) <= 0.09


def test_clark_west_sees_the_signal_that_the_mean_squared_error_hides() -> None:
    outcome = RNG.normal(0, 1, len(TS))
    nested, larger = np.zeros(len(TS)), 0.05 * outcome + RNG.normal(0, 0.4, len(TS))
    found = clark_west(outcome, nested, larger, TS, HORIZON)
    slow = [(y - a) ** 2 - (y - b) ** 2 + (a - b) ** 2 for y, a, b in zip(outcome, nested, larger, strict=True)]
    assert found.statistic == pytest.approx(hac_t(by_session(np.array(slow))))
    assert found.p_value == pytest.approx(stats.norm.sf(found.statistic))
    assert np.mean((outcome - larger) ** 2) > np.mean((outcome - nested) ** 2)
    assert found.p_value < 0.05


def test_mincer_zarnowitz_equals_least_squares_and_knows_honest_forecasts() -> None:
    mean = RNG.uniform(0.01, 0.08, len(TS))
    outcome = mean * np.sqrt(RNG.chisquare(5, len(TS)) / 5)
    honest = mincer_zarnowitz(outcome, mean, TS, HORIZON)
    fitted = stats.linregress(mean**2, outcome**2)
    assert honest.slope == pytest.approx(fitted.slope)
    assert honest.r2 == pytest.approx(fitted.rvalue**2)
    assert honest.intercept == pytest.approx(fitted.intercept / np.mean(outcome**2))
    assert honest.p_value > 0.01
    assert mincer_zarnowitz(outcome, 1.3 * mean, TS, HORIZON).p_value < 1e-6


def test_the_rank_ic_is_spearmans_correlation_by_session() -> None:
    outcome = RNG.normal(0, 1, len(TS))
    mean = 0.2 * outcome + RNG.normal(0, 1, len(TS))
    found = rank_ic(outcome, mean, TS, HORIZON)
    slow = np.array([stats.spearmanr(outcome[day == TS], mean[day == TS])[0] for day in np.unique(TS)])
    assert found == pytest.approx((slow.mean(), hac_t(slow), SESSIONS))
    assert rank_ic(outcome, np.ones(len(TS)), TS, HORIZON) is None, "one forecast for all orders nothing"


def test_classes_are_counted_as_by_hand() -> None:
    outcome = np.array([0.02, 0.02, -0.02, 0.001, -0.001])
    mean = np.array([0.01, 0.0, -0.01, 0.0, 0.01])
    report = direction_report(outcome, mean, np.full(5, 0.02))
    assert report["up"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert report["flat"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert report["down"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1.0}


def test_the_interval_score_is_the_sum_of_two_quantile_losses() -> None:
    from sklearn.metrics import mean_pinball_loss

    outcome, level = RNG.normal(0, 1, 500), 0.9
    bounds = np.sort(RNG.normal(0, 1.5, (500, 2)), axis=1)
    pinball = [mean_pinball_loss(outcome, bounds[:, i], alpha=a) for i, a in enumerate((0.05, 0.95))]
    assert interval_score(outcome, bounds, level).mean() == pytest.approx(2 / (1 - level) * sum(pinball))
    scores = interval_metrics(outcome, bounds, level)
    assert scores["coverage"] == np.mean([low <= y <= high for y, (low, high) in zip(outcome, bounds, strict=True)])


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


def test_the_luckiest_of_many_models_is_not_superior_and_a_better_one_is() -> None:
    reference = 1 + 0.1 * overlapping(len(TS))
    lucky = {f"noise {i}": reference + 0.3 * overlapping(len(TS)) for i in range(10)}
    assert superior_predictive_ability(lucky, reference, TS, seed=0) > 0.05
    better = lucky | {"better": reference - 0.2 + 0.1 * overlapping(len(TS))}
    assert superior_predictive_ability(better, reference, TS, seed=0) < 0.01
    among_the_best = {name for name, p in model_confidence_set(better, TS, seed=0).items() if p > 0.05}
    assert among_the_best == {"better"}


def test_the_deflated_sharpe_ratio_of_its_paper() -> None:
    """Bailey, Lopez de Prado (2014), the numerical example: 100 trials, annual variance 0.5, five years of days."""
    threshold = expected_maximum(0.5 / 250, 100)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    assert confidence(2.5 / 250**0.5, threshold, 1250, -3.0, 10.0) == pytest.approx(0.9004, abs=5e-5)


def test_the_expected_maximum_is_that_of_simulated_worthless_strategies() -> None:
    luck = RNG.normal(0, 0.3, (20_000, 50)).max(axis=1).mean()
    assert expected_maximum(0.09, 50) == pytest.approx(luck, rel=0.02)


def test_a_sharpe_ratio_is_worth_less_the_more_were_tried() -> None:
    returns = RNG.normal(0.02, 0.2, 500)
    alone = deflated_sharpe_ratio(returns, [0.1])
    assert alone == probabilistic_sharpe_ratio(returns)
    assert alone > deflated_sharpe_ratio(returns, [0.1, -0.1]) > deflated_sharpe_ratio(returns, [0.1, -0.1] * 20)
