"""Models: what is exported answers as what was trained, from raw windows, and training is repeatable to the bit."""

import numpy as np
import pytest

from ml.contract import run, session
from ml.datasets import TARGETS, Panel, Target, label, split
from ml.models import FORECASTERS, forecasters
from ml.models.base import Forecaster, Sample
from ml.models.baselines import EwmaVolatility, HistoricalMean, LastValue, Zero
from ml.models.boosting import Boosting
from ml.models.linear import Har, Ridge
from ml.models.lstm import Lstm
from ml.training import relative_difference
from tests.ml_kit import universe

RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]
PANEL = Panel.of(universe(4, 600))


def samples(model: Forecaster) -> dict[str, Sample]:
    outcome = label(PANEL.frame, model.target)
    parts = split(PANEL, outcome, model.target, 10)
    return {p: Sample(PANEL.view(r, model.inputs, model.lookback), outcome[r]) for p, r in parts.rows.items()}


def lstm(target: Target, seed: int = 0, networks: int = 1) -> Lstm:
    return Lstm(target, seed=seed, lookback=10, epochs=1, networks=networks)


@pytest.fixture(scope="module")
def fitted() -> dict[tuple[str, str], Forecaster]:
    """Every forecaster there is, by target and name."""
    made = {}
    for target in TARGETS.values():
        for model in forecasters(target, list(FORECASTERS[target.kind]), lookback=10, epochs=1):
            data = samples(model)
            made[target.name, model.name] = model.fit(data["train"], data["validation"])
    return made


@pytest.mark.parametrize(
    ("target", "name"), [(target.name, name) for target in TARGETS.values() for name in FORECASTERS[target.kind]]
)
def test_the_exported_graph_answers_as_the_trained_model(fitted, target: str, name: str) -> None:
    model = fitted[target, name]
    graph = session(model.export())
    (window,), (mean,) = graph.get_inputs(), graph.get_outputs()
    assert (window.name, window.type, window.shape[1:]) == (
        "window",
        "tensor(float)",
        [model.lookback, len(model.inputs)],
    )
    assert (mean.name, mean.shape[1:]) == ("mean", [1])
    windows = samples(model)["test"].windows
    exported, trained = run(graph, windows), model.predict(windows)
    assert trained.shape == (len(windows),)
    assert relative_difference(exported, trained) <= 1e-5
    alone = np.concatenate([run(graph, windows[i : i + 1]) for i in range(20)])
    assert relative_difference(alone, trained[:20]) <= 1e-5
    if model.target.kind == "volatility":
        assert (exported > 0).all()


def test_the_combination_is_the_geometric_mean_of_its_members(fitted) -> None:
    combination = fitted["volatility_5d", "combination"]
    members = [fitted["volatility_5d", name] for name in ("garch", "boosting", "lstm")]
    parts = [
        member.predict(samples(combination)["test"].windows[:, -member.lookback :, c])
        for member in members
        for c in [[combination.inputs.index(name) for name in member.inputs]]
    ]
    expected = np.cbrt(parts[0] * parts[1] * parts[2])
    np.testing.assert_allclose(combination.predict(samples(combination)["test"].windows), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="needs garch, lstm"):
        forecasters(VOLATILITY, ["combination", "boosting"])


def test_linear_models_are_the_regressions_of_the_textbook() -> None:
    """By the normal equations, on the logarithm of the volatility and on the return in units of its volatility."""
    har, ridge = Har(VOLATILITY), Ridge(RETURN)
    for model in (har, ridge):
        data = samples(model)
        train, test = (data[part].windows[:, -1].astype(np.float64) for part in ("train", "test"))
        log_scale = model.inputs.index("log_ewma_vol")
        scale, test_scale = (np.exp(x[:, log_scale]) * np.sqrt(5) for x in (train, test))
        y = data["train"].outcome / scale
        y = np.log(y) if model is har else y
        centred = (train - train.mean(axis=0)) / train.std(axis=0)
        design = np.c_[centred, np.ones(len(y))]
        shrink = np.diag([model.penalty * len(y)] * centred.shape[1] + [0.0])
        beta = np.linalg.solve(design.T @ design + shrink, design.T @ y)
        u = np.c_[(test - train.mean(axis=0)) / train.std(axis=0), np.ones(len(test))] @ beta
        model.fit(data["train"], data["validation"])
        if model is ridge:
            np.testing.assert_allclose(model.predict(data["test"].windows), test_scale * u, rtol=1e-3, atol=1e-7)
        else:
            ratio = model.predict(data["test"].windows) / (test_scale * np.exp(u))
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_the_naive_forecasts_are_the_textbook_ones() -> None:
    data = samples(HistoricalMean(RETURN))
    mean = HistoricalMean(RETURN).fit(data["train"], data["validation"])
    assert mean.predict(data["test"].windows)[0] == data["train"].outcome.mean()
    last = LastValue(RETURN)
    window = samples(last)["test"].windows
    assert last.predict(window).tolist() == window[:, -1, 0].tolist()
    assert (Zero(RETURN).fit(data["train"], data["validation"]).predict(data["test"].windows) == 0).all()
    ewma = EwmaVolatility(VOLATILITY)
    windows = samples(ewma)["test"].windows
    np.testing.assert_allclose(ewma.predict(windows), windows[:, -1, 0] * np.sqrt(5), rtol=1e-6)


def test_two_trainings_give_the_same_weights_and_several_seeds_are_averaged() -> None:
    both = lstm(VOLATILITY, seed=1, networks=2)
    data = samples(both)
    single = [lstm(VOLATILITY, seed).fit(data["train"], data["validation"]) for seed in (1, 2)]
    both.fit(data["train"], data["validation"])
    first, second = ([w.tobytes() for w in model.weights] for model in single)
    assert first != second
    assert [w.tobytes() for w in both.weights] == first + second
    raw = [np.log(model.predict(data["test"].windows)) for model in (both, *single)]
    level = raw[0] - np.mean(raw[1:], axis=0)
    np.testing.assert_allclose(level, level[0], atol=1e-5)
    assert relative_difference(run(session(both.export()), data["test"].windows), np.exp(raw[0])) <= 1e-5


def test_boosting_is_repeatable_and_keeps_its_learning_curve() -> None:
    first, second = Boosting(VOLATILITY, seed=1), Boosting(VOLATILITY, seed=1)
    data = samples(first)
    assert (
        first.fit(data["train"], data["validation"]).export() == second.fit(data["train"], data["validation"]).export()
    )
    assert first.curve[-1]["train"] < first.curve[0]["train"]


def test_a_volatility_forecast_has_the_level_of_the_variance() -> None:
    model = Boosting(VOLATILITY)
    data = samples(model)
    model.fit(data["train"], data["validation"])
    ratios = [data[part].outcome / model.predict(data[part].windows) for part in ("train", "validation")]
    assert np.mean(np.concatenate(ratios) ** 2) == pytest.approx(1.0)


def test_wild_inputs_give_finite_forecasts(fitted) -> None:
    model = fitted["return_5d", "lstm"]
    wild = samples(model)["test"].windows[:1]
    wild[0, 3, :6] = 1e6
    exported = run(session(model.export()), wild)
    assert np.isfinite(exported).all()
    assert abs(exported[0]) < 1.0
