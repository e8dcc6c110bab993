"""Datasets: labels mean what they say, and nothing of the future reaches the past."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.datasets import EMBARGO, FEATURES, PARTS, TARGETS, Panel, label, split
from tests.ml_kit import universe

RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]


def test_the_models_see_22_features() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == 22


def test_labels_equal_a_loop_over_the_rows() -> None:
    frame = universe(2, 60)
    for _, bars in frame.groupby("symbol"):
        close = bars["close"].to_numpy()
        rows = bars.index.to_numpy()
        returns, volatilities = label(frame, RETURN)[rows], label(frame, VOLATILITY)[rows]
        for t in range(len(close)):
            daily = [np.log(close[k + 1] / close[k]) for k in range(t, t + 5) if k + 1 < len(close)]
            if len(daily) < 5:
                assert np.isnan(returns[t])
                assert np.isnan(volatilities[t])
            else:
                assert returns[t] == pytest.approx(sum(daily), abs=1e-12)
                assert volatilities[t] == pytest.approx(max(np.sqrt(sum(r * r for r in daily)), 1e-4), rel=1e-9)


def test_a_price_that_stands_still_has_the_smallest_volatility() -> None:
    frame = universe(1, 40).assign(close=100.0)
    assert (label(frame, VOLATILITY)[:-5] == 1e-4).all()


def test_labels_refuse_unsorted_rows() -> None:
    with pytest.raises(ValueError, match="sorted"):
        label(universe(2, 60).iloc[::-1], RETURN)


def test_a_window_ends_at_its_row_and_stays_inside_its_symbol() -> None:
    features = universe(3, 80).fillna(0.0)  # no warm-up: a symbol's first row follows the last of the one before it
    features.loc[50, "rsi_14_centered"] = np.nan
    panel = Panel.of(features.sample(frac=1, random_state=1))
    rows = panel.rows(10)
    windows = panel.windows(rows, ("log_return_1", "ewma_vol"), 10)
    expected = features[["log_return_1", "ewma_vol"]].to_numpy(np.float32)
    for row, window in zip(rows, windows, strict=True):
        np.testing.assert_array_equal(window, expected[row - 9 : row + 1])
        assert features["symbol"][row - 9] == features["symbol"][row]
    usable = features[list(FEATURES)].notna().all(axis=1).to_numpy()
    symbols = features["symbol"].to_numpy()
    by_hand = [i for i in range(9, len(features)) if usable[i - 9 : i + 1].all() and symbols[i - 9] == symbols[i]]
    assert rows.tolist() == by_hand


def test_a_window_that_does_not_fit_is_refused() -> None:
    panel = Panel.of(universe(1, 60))
    with pytest.raises(ValueError, match="does not fit"):
        panel.windows(np.array([25]), FEATURES, 20)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    sessions=st.integers(500, 700),
    gone=st.lists(st.floats(0, 1), max_size=30),
    shorter=st.integers(0, 300),
    target=st.sampled_from([RETURN, VOLATILITY]),
)
def test_no_outcome_of_a_part_reaches_the_next_one(seed, sessions, gone, shorter, target) -> None:
    """Whatever sessions a symbol lacks, and wherever its series ends."""
    features = universe(3, sessions, seed % 5)
    one = features.index[features["symbol"] == "S1"]
    features = features.drop(one[sorted({int(g * (len(one) - 1)) for g in gone})])
    features = features.drop(features.index[features["symbol"] == "S2"][len(one) - shorter :])
    panel = Panel.of(features)
    outcome = label(panel.frame, target)
    parts = split(panel, outcome, target, lookback=10)
    ts, symbols = panel.frame["ts"].to_numpy(), panel.frame["symbol"].to_numpy()
    for earlier, later in pairwise(PARTS):
        first_later = ts[parts.rows[later]].min()
        known = ts[parts.rows[earlier] + target.horizon]
        assert (symbols[parts.rows[earlier] + target.horizon] == symbols[parts.rows[earlier]]).all()
        assert known.max() < first_later
        boundary = np.unique(ts)[np.searchsorted(np.unique(ts), first_later) - EMBARGO]
        assert known.max() < boundary, "the embargo comes on top of the purge"


def test_the_future_changes_no_past_window_and_no_known_label() -> None:
    features = universe(3, 400)
    cut = features["ts"].sort_values().iloc[len(features) // 2]
    past = Panel.of(features[features["ts"] <= cut])
    other = features.copy()
    late = other["ts"] > cut
    other.loc[late, [*FEATURES, "ewma_vol"]] *= -3.0
    other.loc[late, "close"] *= 7.0
    whole = Panel.of(other)
    same = np.flatnonzero((whole.frame["ts"] <= cut).to_numpy())
    np.testing.assert_array_equal(whole.run[same], past.run)
    rows = past.rows(20)
    np.testing.assert_array_equal(whole.windows(same[rows], FEATURES, 20), past.windows(rows, FEATURES, 20))
    for target in TARGETS.values():
        known = label(past.frame, target)
        later = label(whole.frame, target)[same]
        np.testing.assert_array_equal(later[np.isfinite(known)], known[np.isfinite(known)])


def test_a_universe_that_is_too_small_says_what_it_lacks() -> None:
    panel = Panel.of(universe(1, 120))
    with pytest.raises(ValueError, match=r"return_5d needs at least 200 train rows and has \d+: 1 symbols"):
        split(panel, label(panel.frame, RETURN), RETURN, 20)
    nothing = Panel.of(universe(1, 15))
    with pytest.raises(ValueError, match="has 0"):
        split(nothing, label(nothing.frame, RETURN), RETURN, 20)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="lacks the columns rsi_14_centered"):
        Panel.of(universe(1, 60).drop(columns="rsi_14_centered"))


def test_only_daily_rows_are_used() -> None:
    features = universe(1, 100)
    hourly = features.assign(interval="1h", ts=features["ts"] + pd.Timedelta(hours=15))
    assert len(Panel.of(pd.concat([features, hourly])).frame) == len(features)
