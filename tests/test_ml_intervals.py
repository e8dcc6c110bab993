"""Intervals: split conformal prediction covers as often as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.intervals import LEVELS, Conformal, calibrate, coverage, quantile

RNG = np.random.default_rng(7)


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
