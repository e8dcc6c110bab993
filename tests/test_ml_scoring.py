"""Forecasts against what happened: scores, the state of the intervals, champion and challenger, day by day."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.assignment import served_by_challenger
from lake.store import Lake
from ml import adaptive, interval_state, plots, scoring
from ml.datasets import TARGETS
from ml.deployments import Deployment
from ml.forecasting import HISTORY, forecast, store
from ml.intervals import LEVELS
from ml.models.baselines import EwmaVolatility, HistoricalMean, Zero
from tests.ml_kit import naive_model, universe

RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
FEATURES = universe(4, 400)
SESSIONS = np.sort(FEATURES["ts"].unique())
UNSEEN = SESSIONS[200].to_pydatetime()
CHAMPIONS = (naive_model(HistoricalMean, RETURN, "4", FEATURES), naive_model(EwmaVolatility, VOLATILITY, "9", FEATURES))
CHALLENGER = naive_model(Zero, RETURN, "5", FEATURES)


def prices(lake: Lake, upto: int, **changes: float) -> pd.DataFrame:
    """Write the bars of the first sessions, with some changed by a factor at session 352; their features."""
    known = FEATURES[FEATURES["ts"] <= SESSIONS[upto]]
    bars = known[["symbol", "interval", "ts", "close"]].rename(columns={"close": "close_adj"})
    for symbol, factor in changes.items():
        bars.loc[(bars["symbol"] == symbol) & (bars["ts"] == SESSIONS[352]), "close_adj"] *= factor
    lake.replace("market/bars", pa.Table.from_pandas(bars, preserve_index=False))
    return known


def day(lake: Lake, upto: int, challenge: bool = False, **changes: float) -> tuple[int, int, int]:
    """One daily run: forecast, score, learn; how many rows, rows and versions it has written."""
    features = prices(lake, upto, **changes)
    deployed = [
        Deployment(model, "champion", UNSEEN, states=interval_state.states(lake, model.name, model.version))
        for model in CHAMPIONS
    ]
    if challenge:
        deployed.append(Deployment(CHALLENGER, "challenger", UNSEEN))
    table = forecast(features, deployed, lake_versions={}, dagster_run_id="d", now=NOW)
    return (
        store(lake, table),
        scoring.update(lake),
        interval_state.update(lake, dagster_run_id="d", now=NOW),
    )


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake after eight days in a row, the last six with a challenger."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    written = [day(lake, upto, challenge=upto > 351) for upto in range(350, 358)]
    assert written[0] == (4 * 2 * (1 + HISTORY), 4 * 2 * (HISTORY - 4), 2)
    assert written[1] == (4 * 2, 4 * 2, 2)
    assert written[-1] == (4 * 3, 4 * 3, 3)
    return lake


def scores(lake: Lake) -> pd.DataFrame:
    return lake.read("forecasts/scores").to_pandas()


def test_scores_equal_what_the_prices_say(lived: Lake) -> None:
    forecasts = {row["id"]: row for row in lived.read("forecasts/predictions").to_pylist()}
    closes = {symbol: bars.set_index("ts")["close"] for symbol, bars in FEATURES.groupby("symbol")}
    for row in scores(lived).to_dict("records"):
        made = forecasts[row["id"]]
        after = np.log(closes[row["symbol"]].loc[row["as_of"] : row["known_at"]]).diff().iloc[1:]
        assert len(after) == 5
        is_return = row["target"] == "return_5d"
        outcome = after.sum() if is_return else np.sqrt((after**2).sum())
        ratio = (outcome / made["mean"]) ** 2 if made["mean"] else 1.0
        assert row["outcome"] == pytest.approx(outcome)
        assert row["error"] == pytest.approx(outcome - made["mean"])
        assert row["loss"] == pytest.approx((outcome - made["mean"]) ** 2 if is_return else ratio - np.log(ratio) - 1)
        inside = [i["lower"] <= outcome <= i["upper"] for i in made["intervals"]]
        assert [hit["hit"] for hit in row["hits"]] == inside
        assert [hit["level"] for hit in row["hits"]] == list(LEVELS)
        assert (row["role"], row["version"], row["backfilled"]) == (made["role"], made["version"], made["backfilled"])
    assert scores(lived)["known_at"].max() == SESSIONS[357]


def test_every_outcome_is_scored_once_it_is_known_and_not_before(lived: Lake) -> None:
    forecasts = lived.read("forecasts/predictions").to_pandas()
    known = forecasts.loc[forecasts["as_of"] <= SESSIONS[352], "id"]
    assert sorted(scores(lived)["id"]) == sorted(known)
    assert len(set(known)) == len(known)


def test_only_the_newest_session_counts_as_forecast_in_time(lived: Lake) -> None:
    forecasts = lived.read("forecasts/predictions").to_pandas().query("role == 'champion'")
    in_time = forecasts.loc[~forecasts["backfilled"], "as_of"]
    assert sorted(in_time.unique()) == list(SESSIONS[350:358])
    assert sorted(forecasts["as_of"].unique()) == list(SESSIONS[350 - HISTORY : 358])


def test_the_same_day_again_writes_nothing(lived: Lake) -> None:
    tables = ("forecasts/predictions", "forecasts/scores", "forecasts/interval_state")
    before = [lived.version(table) for table in tables]
    assert day(lived, 357, challenge=True) == (0, 0, 0)
    assert [lived.version(table) for table in tables] == before


def test_a_session_that_the_model_has_seen_is_not_forecast_afterwards(tmp_path: Path) -> None:
    features = prices(Lake(str(tmp_path)), 350)
    for first, sessions in ((340, 11), (351, 1)):
        deployed = [Deployment(CHAMPIONS[0], "champion", SESSIONS[first].to_pydatetime())]
        table = forecast(features, deployed, lake_versions={}, dagster_run_id="d", now=NOW).to_pandas()
        assert sorted(table["as_of"].unique()) == list(SESSIONS[351 - sessions : 351])


def test_a_corrected_price_corrects_the_scores_that_it_touches(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for upto in (350, 357):
        day(lake, upto)
    before = scores(lake).set_index("id")
    assert day(lake, 357, S1=1.1)[1] > 0
    after = scores(lake).set_index("id").loc[before.index]
    changed = before[~np.isclose(before["outcome"], after["outcome"])]
    assert len(after) == len(before)
    assert set(changed["symbol"]) == {"S1"}
    ends = before["as_of"].eq(SESSIONS[352]) | before["known_at"].eq(SESSIONS[352])
    spans = (before["as_of"] < SESSIONS[352]) & (before["known_at"] > SESSIONS[352])
    touched = (before["symbol"] == "S1") & (ends | (spans & (before["target"] == "volatility_5d")))
    assert set(changed.index) == set(before.index[touched])


def test_the_intervals_follow_the_newest_state_that_was_known(lived: Lake) -> None:
    """And that state is the one of a plain sum over the misses known by then."""
    forecasts = lived.read("forecasts/predictions").to_pandas()
    found = scores(lived)
    for model in CHAMPIONS:
        own = forecasts[(forecasts["model"] == model.name) & (forecasts["role"] == "champion")]
        scored = found[(found["model"] == model.name) & (found["version"] == model.version)]
        for row in own[own["as_of"] > SESSIONS[351]].to_dict("records"):
            # Outcomes known on a day are scored after the forecasts of that day, so the day before counts.
            known = scored[scored["known_at"] < row["as_of"]]
            for i, level in enumerate(LEVELS):
                miss = known["hits"].map(lambda hits, i=i: 1 - level - (not hits[i]["hit"]))  # noqa: B023
                rate = 1 - level + adaptive.GAMMA * miss.groupby(known["known_at"]).mean().sum()
                rate += adaptive.OWN_GAMMA * miss[known["symbol"] == row["symbol"]].sum()
                width = np.interp(
                    1 - max(rate, adaptive.FLOOR * (1 - level)), np.arange(1, 100) / 100, model.conformal.curve
                )
                bounds = row["intervals"][i]
                if model.conformal.kind == "multiplicative":
                    assert np.log(bounds["upper"] / row["mean"]) == pytest.approx(width)
                else:
                    at = (FEATURES["symbol"] == row["symbol"]) & (FEATURES["ts"] == row["as_of"])
                    scale = FEATURES.loc[at, "ewma_vol"].item() * np.sqrt(5)
                    assert (bounds["upper"] - row["mean"]) / scale == pytest.approx(width, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 20), seed=st.integers(0, 100))
def test_what_happens_later_changes_no_earlier_state(lived: Lake, cut: int, seed: int) -> None:
    table = scores(lived)
    table = table[table["version"] == "9"]
    now = np.sort(table["known_at"].unique())[cut]
    past = table[table["known_at"] <= now]
    other = table.sample(frac=1, random_state=seed).copy()
    late = other["known_at"] > now
    other.loc[late, "hits"] = other.loc[late, "hits"].map(lambda hits: [i | {"hit": not i["hit"]} for i in hits])
    before, after = interval_state.learned(past), interval_state.learned(other[~late])
    np.testing.assert_allclose(before.shifts.common, after.shifts.common, atol=1e-12)
    np.testing.assert_allclose(before.shifts.own, after.shifts.own, atol=1e-12)
    both = [before, interval_state.learned(other)]
    assert interval_state.known(both, now) is before
    assert interval_state.known(both, now - pd.Timedelta(days=1)) is None


def test_versions_are_compared_on_the_forecasts_that_both_have_made(
    lived: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = scores(lived)
    (row,) = scoring.compare(table)
    assert (row["champion"], row["challenger"], row["lower"], row["p"]) == ("4", "5", None, None)
    ours, theirs = (table[table["version"] == v].set_index(["symbol", "as_of"])["loss"] for v in ("4", "5"))
    difference = (theirs - ours).dropna()
    assert row["forecasts"] == len(difference)
    assert row["value"] == pytest.approx(difference.mean())
    monkeypatch.setattr(scoring, "MIN_SESSIONS", 10)
    (row,) = scoring.compare(table)
    assert row["lower"] < row["value"] < row["upper"]
    assert 0 <= row["p"] <= 1
    versions = scoring.by_version(table)
    assert [(v["version"], v["role"]) for v in versions] == [("5", "challenger"), ("4", "champion"), ("9", "champion")]
    assert versions[0]["loss"] == pytest.approx(theirs.mean())
    inside = table.loc[table["version"] == "4", "hits"].map(lambda hits: hits[1]["hit"])
    assert versions[1]["coverage 0.9"] == inside.mean()


def test_a_coverage_that_is_off_by_more_than_luck_is_noticed(lived: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MIN_SESSIONS", 10)
    table = scores(lived)
    assert not any(row["credibly off"] for row in scoring.coverage(table.iloc[:0]))
    table["hits"] = table["hits"].map(lambda hits: [i | {"hit": False} for i in hits])
    assert [row["credibly off"] for row in scoring.coverage(table)] == [True, True]
    monkeypatch.setattr(scoring, "MIN_SESSIONS", 40)
    assert not any(row["credibly off"] for row in scoring.coverage(table)), "too few sessions to say"


def test_the_scores_have_a_picture(lived: Lake) -> None:
    assert plots.scores(scores(lived)).startswith(b"\x89PNG")


def test_a_share_of_the_symbols_is_the_challengers_and_a_larger_share_keeps_them() -> None:
    symbols = [f"S{i}" for i in range(4000)]
    served = {share: {s for s in symbols if served_by_challenger(s, share)} for share in (0.0, 0.25, 0.5, 1.0)}
    assert (served[0.0], served[1.0]) == (set(), set(symbols))
    assert served[0.25] < served[0.5]
    assert len(served[0.25]) == pytest.approx(1000, abs=100)
    assert served_by_challenger("AAPL", 0.62) is not served_by_challenger("AAPL", 0.01)
