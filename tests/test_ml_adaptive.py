"""Adaptive intervals and conformalised quantiles: against slow loops, and blind to what is not known yet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import adaptive as module
from ml.adaptive import FLOOR, GAMMA, MIN_SCORES, OWN_GAMMA, REFRESH, WINDOW, Shifts, adaptive
from ml.intervals import LEVELS, conformalised, quantile, quantile_scores

DAY = np.timedelta64(1, "D")


def panel(symbols: int, sessions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores in which one symbol is wilder than said and the last third of time too; a 5-day label, shuffled rows."""
    rng = np.random.default_rng(seed)
    scores = np.abs(rng.standard_t(4, (sessions, symbols)))
    scores[:, 0] *= 1.5
    scores[2 * sessions // 3 :] *= 1.4
    ts = np.datetime64("2015-01-01", "us") + np.arange(sessions) * DAY
    frame = np.broadcast_to(ts[:, None], scores.shape)
    known = frame + 5 * DAY
    known = np.where(known > ts[-1], np.datetime64("NaT"), known)
    name = np.broadcast_to(np.array([f"S{i}" for i in range(symbols)]), scores.shape)
    order = rng.permutation(scores.size)
    return tuple(a.ravel()[order] for a in (scores, name, frame, known))


def slowly(scores, symbols, ts, known_at, levels) -> np.ndarray:
    """The definition, forecast by forecast, with one miss rate a symbol and plain Python."""
    found = np.full((len(scores), len(levels)), np.nan)
    rate = {s: [1 - level for level in levels] for s in set(symbols)}
    taught, reference, renewed = set(), None, 0
    for i, now in enumerate(sorted(set(ts))):
        new = [r for r in range(len(scores)) if known_at[r] <= now and r not in taught]
        for arrival in sorted({known_at[r] for r in new}):
            group = [r for r in new if known_at[r] == arrival and np.isfinite(found[r, 0])]
            for j, level in enumerate(levels):
                missed = {r: float(scores[r] > found[r, j]) for r in group}
                for s, asked in rate.items():
                    if group:
                        asked[j] += GAMMA * (1 - level - sum(missed.values()) / len(group))
                    asked[j] += sum(OWN_GAMMA * (1 - level - missed[r]) for r in group if symbols[r] == s)
        taught |= set(new)
        if len(taught) >= MIN_SCORES and (reference is None or i - renewed >= REFRESH):
            first = sorted({known_at[r] for r in taught})[-WINDOW:][0]
            recent = sorted(scores[r] for r in taught if known_at[r] >= first)
            ranks = [min(int(np.ceil(round((len(recent) + 1) * g / 100, 9))), len(recent)) for g in range(1, 100)]
            reference, renewed = [recent[k - 1] for k in ranks], i
        for r in range(len(scores)):
            if ts[r] == now and reference is not None:
                for j, level in enumerate(levels):
                    asked = 1 - max(rate[symbols[r]][j], FLOOR * (1 - level))
                    found[r, j] = np.interp(asked, np.arange(1, 100) / 100, reference)
    return found


def test_adaptive_quantiles_equal_a_loop_over_the_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 40)
    monkeypatch.setattr("tests.test_ml_adaptive.WINDOW", 40)
    data = panel(4, 90)
    np.testing.assert_allclose(adaptive(*data), slowly(*data, LEVELS), rtol=1e-9)


def test_adaptive_intervals_cover_where_fixed_ones_do_not() -> None:
    scores, symbols, ts, known = panel(8, 1500)
    quantiles = adaptive(scores, symbols, ts, known)
    late = ts > np.unique(ts)[500]
    hits = scores[late, None] <= quantiles[late]
    np.testing.assert_allclose(hits.mean(axis=0), LEVELS, atol=0.01)
    for s in np.unique(symbols):
        np.testing.assert_allclose(hits[symbols[late] == s].mean(axis=0), LEVELS, atol=0.03)
    fixed = quantile(scores[~late], 0.9)
    assert (scores[late & (symbols == "S0")] <= fixed).mean() < 0.86


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(60, 118), horizon=st.integers(1, 10))
def test_what_is_not_known_yet_changes_no_interval(seed: int, cut: int, horizon: int) -> None:
    scores, symbols, ts, _ = panel(3, 120, seed)
    known = ts + horizon * DAY
    now = np.unique(ts)[cut]
    other = np.where(known > now, np.random.default_rng(seed).uniform(0, 99, len(scores)), scores)
    other[seed % len(other)] = np.nan if known[seed % len(other)] > now else other[seed % len(other)]
    past = ts <= now
    np.testing.assert_array_equal(adaptive(other, symbols, ts, known)[past], adaptive(scores, symbols, ts, known)[past])
    np.testing.assert_array_equal(
        adaptive(scores[past], symbols[past], ts[past], known[past]), adaptive(scores, symbols, ts, known)[past]
    )


def test_an_interval_stays_finite_after_any_number_of_misses() -> None:
    nominal = np.array(LEVELS)
    state, code = Shifts.zero(1, 3), np.zeros(1, int)
    for _ in range(500):
        state = state.learn(code, np.ones((1, 3), bool), nominal)
    np.testing.assert_allclose(1 - state.levels(code, nominal), FLOOR * (1 - nominal[None]))
    unknown = state.levels(np.array([-1]), nominal)
    np.testing.assert_allclose(unknown, state.levels(code, nominal))


def test_conformalised_quantiles_cover_although_the_quantiles_do_not() -> None:
    rng = np.random.default_rng(2)
    scale = rng.uniform(0.01, 0.05, 20_000)
    outcome = rng.standard_t(4, 20_000) * scale
    wrong = np.stack([np.array([-q, q]) for q in (0.5, 1.0, 9.0)])  # too narrow, too narrow, much too wide
    bounds = scale[:, None, None] * wrong
    first, second = slice(0, 10_000), slice(10_000, None)
    scores = quantile_scores(outcome[first], bounds[first], scale[first])
    one = max(bounds[7, 0, 0] - outcome[7], outcome[7] - bounds[7, 0, 1]) / scale[7]
    assert scores[7, 0] == pytest.approx(one)
    corrections = np.array([quantile(scores[:, j], level) for j, level in enumerate(LEVELS)])
    moved = conformalised(bounds[second], corrections, scale[second])
    inside = (outcome[second, None] >= moved[:, :, 0]) & (outcome[second, None] <= moved[:, :, 1])
    np.testing.assert_allclose(inside.mean(axis=0), LEVELS, atol=0.015)
    crossed = conformalised(bounds[second], np.full(3, -99.0), scale[second])
    np.testing.assert_allclose(crossed, 0, atol=1e-12)
