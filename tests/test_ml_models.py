"""Models: what is exported answers as what was trained, from raw windows, and training is repeatable to the bit."""

import numpy as np
import pytest

from ml.contract import run, session
from ml.datasets import TARGETS, Panel, Target, label, split
from ml.models.base import Forecaster, Sample
from ml.models.baselines import EwmaVolatility, HistoricalMean, Zero
from ml.models.boosting import Boosting
from ml.models.lstm import Lstm
from ml.training import relative_difference
from tests.ml_kit import universe

RETURN, VOLATILITY = TARGETS["return_5d"], TARGETS["volatility_5d"]
PANEL = Panel.of(universe(4, 600))


def samples(model: Forecaster) -> dict[str, Sample]:
    outcome = label(PANEL.frame, model.target)
    parts = split(PANEL, outcome, model.target, 10)
    return {p: Sample(PANEL.windows(r, model.inputs, model.lookback), outcome[r]) for p, r in parts.rows.items()}


def lstm(target: Target, seed: int = 0) -> Lstm:
    return Lstm(target, seed=seed, lookback=10, epochs=1)


@pytest.mark.parametrize(
    "model",
    [
        Zero(RETURN),
        HistoricalMean(RETURN),
        EwmaVolatility(VOLATILITY),
        Boosting(RETURN),
        Boosting(VOLATILITY),
        lstm(RETURN),
        lstm(VOLATILITY),
    ],
    ids=lambda m: f"{m.name}-{m.target.kind}",
)
def test_the_exported_graph_answers_as_the_trained_model(model: Forecaster) -> None:
    data = samples(model)
    model.fit(data["train"], data["validation"])
    graph = session(model.export())
    (window,), (mean,) = graph.get_inputs(), graph.get_outputs()
    assert (window.name, window.type, window.shape[1:]) == (
        "window",
        "tensor(float)",
        [model.lookback, len(model.inputs)],
    )
    assert (mean.name, mean.shape[1:]) == ("mean", [1])
    windows = data["test"].windows
    exported, trained = run(graph, windows), model.predict(windows)
    assert trained.shape == (len(windows),)
    assert relative_difference(exported, trained) <= 1e-5
    alone = np.concatenate([run(graph, windows[i : i + 1]) for i in range(20)])
    assert relative_difference(alone, trained[:20]) <= 1e-5
    if model.target.kind == "volatility":
        assert (exported > 0).all()


def test_the_naive_forecasts_are_the_textbook_ones() -> None:
    data = samples(HistoricalMean(RETURN))
    mean = HistoricalMean(RETURN).fit(data["train"], data["validation"])
    assert mean.predict(data["test"].windows)[0] == data["train"].outcome.mean()
    assert (Zero(RETURN).fit(data["train"], data["validation"]).predict(data["test"].windows) == 0).all()
    ewma = EwmaVolatility(VOLATILITY)
    windows = samples(ewma)["test"].windows
    np.testing.assert_allclose(ewma.predict(windows), windows[:, -1, 0] * np.sqrt(5), rtol=1e-6)


def test_two_trainings_give_the_same_weights_and_another_seed_gives_others() -> None:
    def weights(seed: int) -> bytes:
        model = lstm(VOLATILITY, seed)
        data = samples(model)
        model.fit(data["train"], data["validation"])
        return b"".join(w.tobytes() for w in model.weights)

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


def test_boosting_is_repeatable_and_keeps_its_learning_curve() -> None:
    first, second = Boosting(VOLATILITY, seed=1), Boosting(VOLATILITY, seed=1)
    data = samples(first)
    assert (
        first.fit(data["train"], data["validation"]).export() == second.fit(data["train"], data["validation"]).export()
    )
    assert first.curve[-1]["train"] < first.curve[0]["train"]


def test_a_volatility_forecast_has_the_level_of_the_variance_on_validation() -> None:
    model = Boosting(VOLATILITY)
    data = samples(model)
    model.fit(data["train"], data["validation"])
    ratio = data["validation"].outcome / model.predict(data["validation"].windows)
    assert np.mean(ratio**2) == pytest.approx(1.0)


def test_wild_inputs_give_finite_forecasts() -> None:
    model = lstm(RETURN)
    data = samples(model)
    model.fit(data["train"], data["validation"])
    wild = data["test"].windows[:1].copy()
    wild[0, 3, :6] = 1e6
    exported = run(session(model.export()), wild)
    assert np.isfinite(exported).all()
    assert abs(exported[0]) < 1.0
