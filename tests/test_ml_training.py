"""Training to forecast: the gate is honest, the registry idempotent, and a forecast says where it comes from."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lake.ids import forecast_id
from lake.store import Lake
from lake.tables import TABLES
from ml import plots
from ml.artifact import LoadedModel
from ml.datasets import TARGETS, label
from ml.deployments import Deployment
from ml.forecasting import forecast, store
from ml.gate import decide
from ml.registry import Registry
from ml.training import TrainingResult, train
from tests.ml_kit import empty_registry, planted, register, trained

RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]
# MLflow's own use of SQLAlchemy, nothing that we could change.
pytestmark = [
    pytest.mark.xdist_group("ml_training"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
LAKE = {"market/features": 7}


@pytest.fixture(scope="module")
def features() -> pd.DataFrame:
    return planted("volatility_5d", 0.9)


@pytest.fixture(scope="module")
def volatility() -> TrainingResult:
    return trained("volatility_5d", 3)


@pytest.fixture(scope="module")
def returns() -> TrainingResult:
    return trained("return_5d", 1)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return empty_registry(tmp_path_factory.mktemp("home"))


def test_noise_has_no_edge_and_the_baseline_is_champion(returns: TrainingResult) -> None:
    decision = decide(returns)
    assert decision.passed
    assert not decision.edge
    assert decision.winner == returns.baseline.model
    assert decision.numbers["loss_difference_upper"] >= 0
    assert "no credible edge" in decision.reason


def test_a_planted_return_is_found() -> None:
    result = train(RETURN, planted("return_5d", 0.8), seed=1, lookback=5, epochs=1)
    decision = decide(result)
    assert decision.passed
    assert decision.edge
    assert decision.winner == result.challenger.model
    assert decision.numbers["loss_difference_upper"] < 0
    assert result.challenger.metrics["test"]["r2_vs_mean"] > 0.2


def test_the_learned_volatility_wins_where_there_is_something_to_learn(volatility: TrainingResult) -> None:
    decision = decide(volatility)
    assert decision.edge
    assert decision.passed
    assert decision.learned
    assert volatility.challenger.metrics["test"]["qlike_gain_vs_ewma"] > 0.1


def test_an_unsound_winner_is_not_passed(volatility: TrainingResult) -> None:
    from dataclasses import replace

    broken = replace(volatility.challenger, parity=0.1)
    decision = decide(replace(volatility, challenger=broken))
    assert decision.winner == volatility.baseline.model
    assert "unsound" in decision.reason
    both = decide(replace(volatility, challenger=broken, baseline=replace(volatility.baseline, parity=0.1)))
    assert not both.passed
    points = replace(volatility.challenger, test_bounds=volatility.challenger.test_bounds * 0)
    assert "interval covers 0.0%" in decide(replace(volatility, challenger=points)).reason


def test_validation_selects_and_the_test_period_does_not(volatility: TrainingResult) -> None:
    learned = [c for c in volatility.candidates.values() if c.learned]
    assert {c.model for c in learned} == {"har", "garch", "boosting", "lstm", "combination"}
    assert volatility.challenger.metrics["validation"]["loss"] == min(c.metrics["validation"]["loss"] for c in learned)
    assert {c.model for c in learned if c.curve} == {"boosting", "lstm"}
    ends = [volatility.split_dates[p] for p in ("train", "validation", "calibration", "test")]
    assert all(a[1] < b[0] for a, b in pairwise(ends))


def test_training_twice_gives_the_same_version(volatility: TrainingResult, features: pd.DataFrame) -> None:
    again = train(VOLATILITY, features.sample(frac=1, random_state=2), seed=1, lookback=5, epochs=3)
    assert again.challenger.digest(LAKE) == volatility.challenger.digest(LAKE)
    assert again.challenger.digest({"market/features": 8}) != volatility.challenger.digest(LAKE)


def test_registering_twice_makes_one_version(registry: Registry, volatility: TrainingResult) -> None:
    decision = decide(volatility)
    first = register(registry, volatility, decision)
    second = register(registry, volatility, decision)
    assert all(r.created for r in first.values())
    assert not any(r.created for r in second.values())
    assert {m: r.version for m, r in first.items()} == {m: r.version for m, r in second.items()}
    other = register(registry, volatility, decision, {"market/features": 8})
    assert other[decision.winner].version not in {r.version for r in first.values()}


def test_a_champion_comes_back_as_it_was_trained(
    registry: Registry, volatility: TrainingResult, features: pd.DataFrame
) -> None:
    from ml.datasets import Panel, split

    assert registry.champion("nobody") is None
    decision = decide(volatility)
    registered = register(registry, volatility, decision)
    version = registered[decision.winner].version
    assert registry.load("volatility_5d", version).version == version
    promotion = registry.promote("volatility_5d")
    assert (promotion.version, promotion.reason) == (version, decision.reason)
    champion = registry.champion("volatility_5d")
    assert champion is not None
    assert champion.version == version
    contract = champion.contract
    assert contract == volatility.challenger.contract
    window = np.asarray(contract.golden.window, np.float32)
    np.testing.assert_allclose(champion.predict(window[None]), contract.golden.mean, rtol=1e-6)
    low, high = np.transpose([contract.ranges[name] for name in contract.inputs])
    assert ((window >= low) & (window <= high)).all(), "the golden window is one of those it was trained on"
    panel = Panel.of(features)
    rows = split(panel, label(panel.frame, VOLATILITY), VOLATILITY, 5).rows["test"]
    np.testing.assert_allclose(champion.forecast(panel, rows), volatility.challenger.test_mean, rtol=1e-5)
    tags = registry.tags("volatility_5d", version)
    assert tags["lake_versions"] == '{"market/features": 7}'
    assert tags["seed"] == "1"
    assert {"features", "lookback", "metrics", "conformal", "split", "code_version", "decision"} <= set(tags)


def test_a_decision_that_did_not_pass_moves_no_alias(registry: Registry, returns: TrainingResult) -> None:
    from dataclasses import replace

    decision = decide(returns)
    first = register(registry, returns, replace(decision, passed=False))
    assert registry.promote("return_5d").version is None
    assert registry.champion("return_5d") is None, "the model is there, its alias is not"
    register(registry, returns, decision)
    assert registry.promote("return_5d").version == first[returns.baseline.model].version
    register(registry, returns, replace(decision, passed=False))
    kept = registry.promote("return_5d")
    assert not kept.passed
    assert kept.version == first[returns.baseline.model].version


def test_a_run_keeps_metrics_curves_and_pictures(registry: Registry, volatility: TrainingResult) -> None:
    register(registry, volatility, decide(volatility))
    experiment = registry.ensure_experiment("tests")
    run = registry.client.search_runs([experiment], max_results=1)[0]
    assert run.data.metrics["test/ewma/qlike"] == pytest.approx(volatility.baseline.metrics["test"]["qlike"])
    curve = registry.client.get_metric_history(run.info.run_id, "curve/lstm/validation")
    assert len(curve) == len(volatility.candidates["lstm"].curve)
    files = {f.path for f in registry.client.list_artifacts(run.info.run_id)}
    assert {"learning_curve.png", "forecast_vs_outcome.png", "coverage.png", "decision.json"} <= files
    root = registry.client.get_experiment(experiment).artifact_location
    assert root == Path(registry._settings.mlflow_artifacts, "tests").as_uri()


def loaded(result: TrainingResult, version: str) -> LoadedModel:
    return LoadedModel(result.target.name, version, f"run-{version}", result.challenger.onnx)


def made(features: pd.DataFrame, *models: LoadedModel, scale: LoadedModel | None = None, now=NOW) -> pa.Table:
    """Forecasts of the newest session only: the models have seen every other one."""
    unseen_from = features["ts"].max().to_pydatetime()
    scales = {"return_5d": scale, "volatility_5d": None}
    deployed = [Deployment(model, "champion", unseen_from, scales[model.name]) for model in models]
    return forecast(features, deployed, lake_versions=LAKE, dagster_run_id="d", now=now)


def test_forecasts_fill_the_table_and_keep_their_ids(
    features: pd.DataFrame, returns: TrainingResult, volatility: TrainingResult
) -> None:
    models = loaded(returns, "4"), loaded(volatility, "9")
    table = made(features, *models)
    assert table.schema == TABLES["forecasts/predictions"].schema
    rows = table.to_pylist()
    assert [(r["symbol"], r["target"]) for r in rows] == [
        (s, t) for s in ("S0", "S1", "S2", "S3") for t in ("return_5d", "volatility_5d")
    ]
    for r in rows:
        assert r["as_of"] == features["ts"].max()
        assert [i["level"] for i in r["intervals"]] == [0.8, 0.9, 0.95]
        widths = [i["upper"] - i["lower"] for i in r["intervals"]]
        assert widths == sorted(widths)
        assert all(i["lower"] < r["mean"] < i["upper"] for i in r["intervals"])
        moved = [abs(c["contribution"]) for c in r["contributions"]]
        assert moved == sorted(moved, reverse=True)
        assert len(moved) == 5
        if r["target"] == "return_5d":
            assert r["price"] == pytest.approx(r["last_price"] * np.exp(r["mean"]))
        else:
            assert r["price"] is None
            assert r["mean"] > 0
    assert rows[0]["id"] == forecast_id("S0", "return_5d", features["ts"].max(), "return_5d", "4")
    later = made(features, *models, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert later["id"].to_pylist() == table["id"].to_pylist()
    newer = made(features, models[0], loaded(volatility, "10"))
    changed = [a != b for a, b in zip(newer["id"].to_pylist(), table["id"].to_pylist(), strict=True)]
    assert changed == [False, True] * 4


def test_a_known_forecast_is_not_written_again_and_a_corrected_one_takes_its_place(
    tmp_path: Path, features: pd.DataFrame, returns: TrainingResult, volatility: TrainingResult
) -> None:
    lake = Lake(str(tmp_path))
    models = loaded(returns, "4"), loaded(volatility, "9")
    assert store(lake, made(features, *models)) == 8
    version = lake.version("forecasts/predictions")
    assert store(lake, made(features, *models)) == 0
    assert store(lake, made(features[features["symbol"] == "S1"], *models)) == 0
    assert lake.version("forecasts/predictions") == version
    corrected = features.copy()
    newest = (corrected["symbol"] == "S2") & (corrected["ts"] == corrected["ts"].max())
    corrected.loc[newest, "last_price"] *= 1.01
    assert store(lake, made(corrected, *models)) == 2
    assert store(lake, made(features[features["ts"] < features["ts"].max()], *models)) == 8
    stored = lake.read("forecasts/predictions").to_pandas()
    assert len(stored) == stored["id"].nunique() == 16


def test_a_symbol_is_forecast_as_of_its_own_newest_usable_session(
    features: pd.DataFrame, returns: TrainingResult, volatility: TrainingResult
) -> None:
    ended = features[(features["symbol"] != "S1") | (features["ts"] < "2017-01-01")]
    ended = ended[(ended["symbol"] != "S2") | (ended["ts"] < "2015-01-25")]
    table = made(ended, loaded(returns, "4"), loaded(volatility, "9")).to_pandas()
    assert table["symbol"].unique().tolist() == ["S0", "S1", "S3"]
    assert table.loc[table["symbol"] == "S1", "as_of"].max() == pd.Timestamp("2016-12-30", tz="UTC")


def test_return_intervals_are_pinned_to_the_volatility_that_scaled_them(
    features: pd.DataFrame, volatility: TrainingResult
) -> None:
    scale = loaded(volatility, "9")
    result = train(RETURN, features, seed=1, lookback=5, epochs=1, volatility_model=scale)
    model = loaded(result, "4")
    assert model.conformal.scaled_by == ("volatility_5d", "9")
    with pytest.raises(ValueError, match="scaled by"):
        made(features, model, scale=loaded(volatility, "10"))
    rows = made(features, model, loaded(volatility, "10"), scale=scale).to_pylist()
    q = model.conformal.quantiles[0]
    assert rows[0]["intervals"][0]["upper"] == pytest.approx(rows[0]["mean"] + q * rows[1]["mean"], rel=1e-5)


def test_pictures_are_png(features: pd.DataFrame, returns: TrainingResult, volatility: TrainingResult) -> None:
    models = loaded(returns, "4"), loaded(volatility, "9")
    table = made(features, *models)
    bars = volatility.test.assign(
        close_adj=1.0, sma_50=1.0, bb_upper_20=1.1, bb_lower_20=0.9, rsi_14=50.0, macd=0.0, macd_signal=0.0
    )
    pictures = [f(volatility) for f in (plots.learning_curve, plots.forecast_vs_outcome, plots.coverage)]
    for png in (*pictures, plots.forecasts(table), plots.symbol_overview(bars, "S0")):
        assert png.startswith(b"\x89PNG")
        assert len(png) > 5000


def test_importing_ml_pulls_in_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ml.training, ml.gate, ml.registry, ml.forecasting, ml.plots\n"
        "print([m for m in ('tensorflow', 'keras', 'mlflow', 'sklearn', 'onnx', 'onnxruntime', 'matplotlib')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
