"""Walk-forward: a year is forecast from what was known before it; what comes later changes nothing of the past."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.datasets import EMBARGO, FEATURES, TARGETS, Panel, Target, label
from ml.models.base import Sample
from ml.models.baselines import EwmaVolatility, HistoricalMean
from ml.models.boosting import Boosting
from ml.walk_forward import Fold, Store, folds, forecast, forecasts_frame, regimes
from tests.ml_kit import universe

RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]
FEATURES_OF_YEARS = universe(3, 900)  # 2015 to the middle of 2018
YEARS = (2017, 2018)


def walk(features: pd.DataFrame, target: Target, window: int | None = None) -> tuple[Panel, np.ndarray, list[Fold]]:
    panel = Panel.of(features)
    outcome = label(panel.frame, target)
    return panel, outcome, list(folds(panel, outcome, target, lookback=10, years=YEARS, window=window))


@pytest.mark.parametrize("window", [None, 1])
def test_a_fold_learns_only_from_outcomes_that_were_known(window: int | None) -> None:
    panel, outcome, years = walk(FEATURES_OF_YEARS, VOLATILITY, window)
    ts = panel.frame["ts"].dt.tz_localize(None)
    sessions = list(np.unique(ts[panel.rows(10)]))
    for fold in years:
        assert set(ts[fold.test].dt.year) == {fold.year}
        of_the_year = panel.rows(10)[(ts[panel.rows(10)].dt.year == fold.year).to_numpy()]
        assert fold.test.tolist() == [i for i in of_the_year if np.isfinite(outcome[i])]
        for earlier, later in ((fold.train, fold.validation), (fold.validation, fold.test)):
            known = ts.to_numpy()[earlier + VOLATILITY.horizon].max()
            assert known < ts[later].min()
            assert sessions.index(ts[later].min()) - sessions.index(known) >= EMBARGO
        assert len(fold.train) > 3 * len(fold.validation)
        oldest = ts[fold.train].min()
        assert oldest == sessions[0] if window is None else oldest.year == max(fold.year - window, 2015)


def test_a_year_without_a_past_is_refused() -> None:
    panel = Panel.of(FEATURES_OF_YEARS)
    with pytest.raises(ValueError, match="2015 has"):
        list(folds(panel, label(panel.frame, RETURN), RETURN, lookback=10, years=[2015]))


@pytest.mark.parametrize("target", [RETURN, VOLATILITY], ids=lambda target: target.name)
@pytest.mark.parametrize("cut", ["2018-01-03", "2018-03-20"])
def test_the_future_changes_no_past_forecast(target: Target, cut: str) -> None:
    other = FEATURES_OF_YEARS.copy()
    late = other["ts"] > pd.Timestamp(cut, tz="UTC")
    other.loc[late, [*FEATURES, "ewma_vol"]] *= -3.0
    other.loc[late, "close"] *= np.linspace(1, 7, late.sum())
    past = np.flatnonzero(~late)
    kinds = (Boosting, HistoricalMean if target.kind == "return" else EwmaVolatility)
    for kind in kinds:
        found, changed = (
            forecast(*walk(features, target), lambda kind=kind: kind(target)) for features in (FEATURES_OF_YEARS, other)
        )
        np.testing.assert_array_equal(found[past], changed[past])
        assert np.isfinite(found[past]).any()
    np.testing.assert_array_equal(*(regimes(features)[past] for features in (FEATURES_OF_YEARS, other)))


class Counting(HistoricalMean):
    """Counts its trainings."""

    fits = 0

    def fit(self, train: Sample, validation: Sample) -> "Counting":
        Counting.fits += 1
        return super().fit(train, validation)


def test_an_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    def run(features: pd.DataFrame, seed: int = 0, years: slice = slice(None)) -> tuple[np.ndarray, int]:
        Counting.fits = 0
        panel, outcome, all_years = walk(features, RETURN)
        found = forecast(panel, outcome, all_years[years], lambda: Counting(RETURN, seed=seed), store=Store(tmp_path))
        return found, Counting.fits

    assert run(FEATURES_OF_YEARS, years=slice(1))[1] == 1
    whole, trained = run(FEATURES_OF_YEARS)
    assert trained == 1, "2017 was stored"
    again, trained = run(FEATURES_OF_YEARS)
    assert trained == 0
    np.testing.assert_array_equal(again, whole)
    assert run(FEATURES_OF_YEARS, seed=1)[1] == 2, "other parameters are another model"
    corrected = FEATURES_OF_YEARS.copy()
    corrected.loc[(corrected["ts"] > "2018-02-01") & corrected["log_return_1"].notna(), "log_return_1"] += 0.1
    assert run(corrected)[1] == 1, "only the year that saw the correction"
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy"}


def test_forecasts_stand_beside_what_happened() -> None:
    panel, outcome, years = walk(FEATURES_OF_YEARS, VOLATILITY)
    means = {"ewma": forecast(panel, outcome, years, lambda: EwmaVolatility(VOLATILITY))}
    frame = forecasts_frame(panel, VOLATILITY, means)
    rows = np.sort(np.concatenate([fold.test for fold in years]))
    assert len(frame) == len(rows)
    np.testing.assert_array_equal(frame["outcome"], outcome[rows])
    np.testing.assert_allclose(frame["ewma"], frame["naive_volatility"])
    sessions = panel.frame["ts"].dt.tz_localize(None).to_numpy()
    np.testing.assert_array_equal(frame["known_at"], sessions[rows + 5])
    assert set(frame["regime"]) <= {"calm", "normal", "stressed"}


def test_a_regime_is_the_rank_of_the_markets_volatility_so_far() -> None:
    frame = universe(2, 120).assign(market_log_vol_20=lambda f: np.sin(np.arange(len(f)) % 120 / 7.0))
    found = regimes(frame)
    market = frame["market_log_vol_20"].to_numpy()[:120]
    for t in range(120):
        rank = (np.sum(market[: t + 1] < market[t]) + 1) / (t + 1)
        assert found[t] == found[120 + t] == ("stressed" if rank >= 0.9 else "normal" if rank >= 0.5 else "calm")
