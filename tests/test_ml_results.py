"""Results: the page and the table say what the forecasts are, and intervals know nothing of what comes later."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lake.store import Lake
from lake.tables import EVALUATION
from ml.evaluation import plots, report, sharpe_ratio
from ml.evaluation.__main__ import scored, tried
from ml.evaluation.results import HELD_OUT, WALK_FORWARD, replace
from ml.evaluation.strategy import long_short
from ml.evaluation.study import (
    INTERVALS_FROM,
    RETURN,
    VOLATILITY,
    Study,
    configurations,
    forecaster,
    return_bounds,
    volatility_bounds,
    with_intervals,
)
from ml.walk_forward import identity

SYMBOLS = ("A", "B", "C", "D")


def forecasts() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Returns of a known volatility, forecasts of both that are wrong by known amounts, and that volatility."""
    rng = np.random.default_rng(0)
    ts = pd.bdate_range("2004-01-01", "2007-12-31", tz="UTC").as_unit("us")
    frame = pd.DataFrame({"symbol": np.repeat(SYMBOLS, len(ts)), "ts": np.tile(ts, len(SYMBOLS))})
    volatility = 0.04 * np.exp(rng.normal(0, 0.5, len(frame)))
    frame = frame.assign(
        year=frame["ts"].dt.year,
        regime=rng.choice(["calm", "normal", "stressed"], len(frame)),
        known_at=(frame["ts"] + pd.offsets.BDay(5)).dt.tz_localize(None),
        naive_volatility=volatility,
    )
    returns = frame.assign(outcome=volatility * rng.standard_normal(len(frame)))
    volatilities = frame.assign(outcome=volatility * np.exp(rng.normal(0, 0.3, len(frame))))
    for configuration in configurations(RETURN, full=False):
        returns[configuration.name] = rng.normal(0, 0.005, len(frame))
    for i, configuration in enumerate(configurations(VOLATILITY, full=False)):
        volatilities[configuration.name] = volatility * np.exp(rng.normal(0, 0.6 - 0.1 * i, len(frame)))
    return returns, volatilities, volatility


@pytest.fixture(scope="module")
def done() -> Study:
    returns, volatilities, volatility = forecasts()
    return Study(returns, volatilities, return_bounds(returns, volatility), volatility_bounds(volatilities), False)


@pytest.fixture(scope="module")
def table(done: Study) -> pd.DataFrame:
    return scored(done)


def test_the_table_says_what_the_forecasts_are(done: Study, table: pd.DataFrame) -> None:
    def cell(**where: str) -> pd.Series:
        return report.number(table, **where)

    frame = done.volatilities.loc[done.volatilities["year"] == 2006]
    q = {m: (frame["outcome"] / frame[m]) ** 2 for m in ("boosting", "ewma")}
    mean = {m: np.mean(x - np.log(x) - 1) for m, x in q.items()}
    found = cell(target="volatility_5d", model="boosting", grouping="year", group="2006", metric="gain_vs_ewma")
    assert found["value"] == pytest.approx(1 - mean["boosting"] / mean["ewma"])
    assert found["lower"] < found["value"] < found["upper"]
    assert found["forecasts"] == len(frame)
    returns = done.returns.loc[with_intervals(done.returns)]
    assert returns["year"].min() == INTERVALS_FROM
    bounds = done.return_bounds["adaptive, scaled"][:, 1]
    own = (returns["symbol"] == "B").to_numpy()
    inside = (returns["outcome"] >= bounds[:, 0]) & (returns["outcome"] <= bounds[:, 1])
    found = cell(target="return_5d", model="adaptive, scaled", grouping="symbol", group="B", metric="coverage_90")
    assert found["value"] == pytest.approx(inside[own].mean())
    assert found["value"] == pytest.approx(0.9, abs=0.03)


def test_the_page_repeats_the_table(done: Study, table: pd.DataFrame) -> None:
    page = report.page(done, table, report.Facts(features_version=7, tried=14, full=False))
    gain = report.number(table, target="volatility_5d", model="combination", grouping="all", metric="gain_vs_har")
    assert f"{100 * gain['value']:.1f} [{100 * gain['lower']:.1f}, {100 * gain['upper']:.1f}]" in page
    assert "version 7 of" in page
    assert "**14** configurations" in page
    assert "nan" not in page
    assert page.count("reached |") == 7


def test_the_pictures_are_pictures(table: pd.DataFrame) -> None:
    for picture in (plots.gains(table, "volatility_5d", "ewma"), plots.coverage(table, "return_5d", report.ADAPTIVE)):
        assert picture.startswith(b"\x89PNG")


def test_the_future_changes_no_past_interval() -> None:
    returns, volatilities, volatility = forecasts()
    cut = pd.Timestamp("2007-03-01")
    unknown = (returns["known_at"] > cut).to_numpy()
    past = (returns["ts"].dt.tz_localize(None) <= cut).to_numpy()
    for frame, bounds in ((returns, lambda f: return_bounds(f, volatility)), (volatilities, volatility_bounds)):
        other = frame.assign(outcome=np.where(unknown, 9 * frame["outcome"].abs(), frame["outcome"]))
        same = past[with_intervals(frame)]
        before, after = bounds(frame), bounds(other)
        for method in before:
            np.testing.assert_array_equal(before[method][same], after[method][same])
            assert np.isfinite(before[method]).all()


def test_each_evidence_replaces_its_own_rows(tmp_path: Path, table: pd.DataFrame) -> None:
    lake, now = Lake(str(tmp_path)), datetime(2026, 1, 2, tzinfo=UTC)
    replace(lake, WALK_FORWARD, table, 3, now)
    replace(lake, HELD_OUT, table.head(5), None, now)
    replace(lake, HELD_OUT, table.head(2), None, now)
    stored = lake.read(EVALUATION.name).to_pandas()
    assert stored.groupby("evidence").size().to_dict() == {HELD_OUT: 2, WALK_FORWARD: len(table)}
    assert not stored.duplicated(list(EVALUATION.key)).any()


def test_what_was_tried_is_counted_once(tmp_path: Path) -> None:
    ledger = tmp_path / "results.csv"
    published = [configurations(target, full=False) for target in (RETURN, VOLATILITY)]
    assert tried(ledger, full=False) == tried(ledger, full=False) == sum(map(len, published))
    assert tried(ledger, full=True) > sum(map(len, published))


def test_models_are_the_same_only_with_the_same_parameters_and_members() -> None:
    by_name = {
        c.name: identity(forecaster(target, c)) for target in (RETURN, VOLATILITY) for c in configurations(target, True)
    }
    assert len(by_name) >= len(set(by_name.values()))
    assert identity(forecaster(RETURN, configurations(RETURN, False)[0])) == by_name["zero"]
    assert by_name["lstm"] != by_name["lstm_seed_1"]


def test_a_portfolio_that_knows_the_order_earns_the_spread() -> None:
    returns, _, _ = forecasts()
    returns["oracle"], returns["constant"] = returns["outcome"], 0.01
    earned = long_short(returns, "oracle", 5)
    sessions = np.sort(returns["ts"].unique())[::5]
    by_hand = []
    for session in sessions:
        of_day = np.sort(returns.loc[returns["ts"] == session, "outcome"])
        by_hand.append((of_day[2:].sum() - of_day[:2].sum()) / 4)
    np.testing.assert_allclose(earned, by_hand)
    assert sharpe_ratio(earned) > 1
    assert not long_short(returns, "constant", 5).any()
