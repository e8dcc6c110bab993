"""What-if calls: the answer is the model's own, and whatever is wrong with a question is named."""

import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from lake.settings import Settings
from ml.contract import contract_of
from ml.contract import session as session_of
from tests.serving_kit import (
    SESSION,
    eventually,
    make_settings,
    model_file,
    problem,
    promote,
    serve,
    session,
    write,
    write_features,
)


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_settings(tmp_path, tmp_path_factory)
    write(settings, session("AAPL", "MSFT"))
    return settings


def ask(client: httpx.Client, *cases: dict[str, Any], target: str = "return_5d", **options: Any) -> httpx.Response:
    return client.post("/v1/predict", json={"target": target, "cases": cases, **options})


def quantiles(target: str, version: str) -> tuple[float, ...]:
    return contract_of(session_of(model_file(target, version))).conformal.quantiles


def window(**changes: Any) -> dict[str, Any]:
    """Everything that version 1 of the return wants to know."""
    return {"log_return_1": [0.0, 0.01, 0.02], "log_ewma_vol": [-4.0] * 3, "ewma_vol": [0.02] * 3} | changes


def test_a_scenario_is_the_newest_stored_features_with_shocks(settings: Settings) -> None:
    version = write_features(settings, "AAPL", "MSFT")
    with serve(settings) as client:
        found = ask(client, {"symbol": "aapl"}, {"symbol": "MSFT", "shocks": {"log_return_1": -0.05}}).json()
        calm, shocked = found["forecasts"]
        assert found["model"] == {"name": "return_5d", "version": "1"}
        assert found["lake_versions"] == {"market/features": version}
        assert (calm["symbol"], shocked["symbol"]) == ("AAPL", "MSFT")
        assert calm["as_of"] == "2022-12-28T00:00:00Z"
        assert calm["mean"] == pytest.approx(0.01 + 0.5 * 0.029)
        assert shocked["mean"] == pytest.approx(0.01 + 0.5 * (0.029 - 0.05), rel=1e-5)
        assert calm["price"] == pytest.approx(100 * math.exp(calm["mean"]))
        for interval, quantile in zip(calm["intervals"], quantiles("return_5d", "1"), strict=True):
            width = quantile * 0.02 * math.sqrt(5)  # the naive volatility
            assert interval["upper"] == pytest.approx(calm["mean"] + width)
            assert interval["lower"] == pytest.approx(calm["mean"] - width)
        assert [interval["level"] for interval in calm["intervals"]] == [0.8, 0.9, 0.95]
        volatility = ask(client, {"symbol": "AAPL"}, target="volatility_5d").json()["forecasts"][0]
        assert volatility["mean"] == pytest.approx(math.exp(-4.0 + 0.29) * math.sqrt(5))
        assert volatility["price"] is None


def test_a_posted_window_is_answered_with_the_scale_that_the_version_was_calibrated_with(settings: Settings) -> None:
    promote(settings, "return_5d", "2")
    with serve(settings) as client:
        features = {name: values for name, values in window().items() if name != "ewma_vol"}
        found = ask(client, {"features": features}).json()
        (made,) = found["forecasts"]
        assert found["model"]["version"] == "2"
        assert made["mean"] == pytest.approx(0.02 + 0.5 * 0.02)
        width = quantiles("return_5d", "2")[0] * math.exp(-4.0) * math.sqrt(5)  # volatility_5d version 1
        assert made["intervals"][0]["upper"] == pytest.approx(made["mean"] + width)
        assert (made["symbol"], made["as_of"], made["last_price"], made["price"]) == (None,) * 4
        assert found["lake_versions"] == {}


@pytest.mark.parametrize(
    ("case", "parameter", "says"),
    [
        ({"features": {k: v for k, v in window().items() if k != "ewma_vol"}}, "features.ewma_vol", "missing"),
        ({"features": window(rsi=[1, 2, 3])}, "features.rsi", "no input"),
        ({"features": window(log_return_1=[0.0, 0.1])}, "features.log_return_1", "needs 3 values"),
        ({"features": window(log_return_1=[0.0, 0.0, 0.5])}, "features.log_return_1", "0.5 is outside"),
        ({"features": window(log_ewma_vol=[1e300, -4.0, -4.0])}, "features.log_ewma_vol", "inf is outside"),
        ({"features": window(ewma_vol=[0.02, 1e300, 0.02])}, "features.ewma_vol", "inf is outside"),
        ({"features": window(log_return_1=[0.0, None, 0.0])}, "features.log_return_1.1", "valid number"),
        ({"features": window(log_return_1=[0.0, float("nan"), 0.0])}, "features.log_return_1.1", "finite"),
        ({"symbol": "AAPL", "shocks": {"log_return_1": 3.0}}, "shocks.log_return_1", "3.029 is outside"),
        ({"symbol": "AAPL", "shocks": {"rsi": 3.0}}, "shocks.rsi", "no input"),
        ({"symbol": "AAPL", "shocks": {"log_return_1": float("inf")}}, "shocks.log_return_1", "finite"),
        ({"symbol": "NONE"}, "symbol", "no stored features of NONE"),
        ({"symbol": "A'; DROP TABLE t"}, "symbol", "no stored features"),
        ({"symbol": "AAPL", "shock": {}}, "shock", "Extra inputs"),
    ],
)
def test_what_is_wrong_with_a_question_is_named(
    settings: Settings, case: dict[str, Any], parameter: str, says: str
) -> None:
    write_features(settings, "AAPL")
    with serve(settings) as client:
        body = json.dumps({"target": "return_5d", "cases": [{"features": window()}, case]})
        found = problem(client.post("/v1/predict", content=body, headers={"content-type": "application/json"}), 422)
        (error,) = found["errors"]
        assert (error["parameter"], error["location"]) == (f"cases.1.{parameter}", "body")
        assert says in error["detail"]


def test_every_wrong_feature_is_named_at_once_and_so_are_wrong_bodies(settings: Settings) -> None:
    with serve(settings) as client:
        found = problem(ask(client, {"features": {"rsi": [1.0]}}, {"features": {}}), 422)
        assert len(found["errors"]) == 4 + 3
        for cases in ([], [{}], [{"symbol": "AAPL", "features": {}}], [{"features": window()}] * 65):
            problem(ask(client, *cases), 422)
        assert "return_5d, volatility_5d" in problem(ask(client, {"symbol": "AAPL"}, target="x"), 422)["detail"]
        for content in (b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000, b'{"cases": 1e999}'):
            answer = client.post("/v1/predict", content=content, headers={"content-type": "application/json"})
            problem(answer, 400 if content[:1] in (b"\xff", b"[") and len(content) != 2 else 422)


def test_values_outside_of_the_training_data_are_answered_on_request_and_named(settings: Settings) -> None:
    with serve(settings) as client:
        features = window(log_return_1=[0.0, 0.0, 0.5])
        (made,) = ask(client, {"features": features}, extrapolate=True).json()["forecasts"]
        assert made["mean"] == pytest.approx(0.26)
        assert made["outside_training_range"] == ["log_return_1"]
        infinite = problem(ask(client, {"features": window(ewma_vol=[0.02, 0.02, 1e300])}, extrapolate=True), 422)
        assert "no finite answer" in infinite["detail"]


def test_the_window_ends_at_the_newest_session_that_has_every_feature(settings: Settings) -> None:
    write_features(settings, "AAPL", log_return_1=None)
    write(settings, session("XOM"))
    with serve(settings) as client:
        (made,) = ask(client, {"symbol": "AAPL"}).json()["forecasts"]
        assert made["as_of"] == "2022-12-27T00:00:00Z"
        assert made["mean"] == pytest.approx(0.01 + 0.5 * 0.028)
        assert "no stored features of XOM" in problem(ask(client, {"symbol": "XOM"}), 422)["detail"]
        version = write_features(settings, "AAPL")

        def newest() -> dict[str, Any]:
            answer: dict[str, Any] = ask(client, {"symbol": "AAPL"}).json()
            return answer

        eventually(lambda: newest()["lake_versions"] == {"market/features": version})
        assert newest()["forecasts"][0]["as_of"] == f"{SESSION:%Y-%m-%dT%H:%M:%SZ}"


def test_without_the_lake_posted_windows_are_answered_and_scenarios_come_back_later(settings: Settings) -> None:
    with serve(settings) as client:  # there are no features yet
        answer = ask(client, {"symbol": "AAPL"})
        assert "market/features" in problem(answer, 503)["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert ask(client, {"features": window()}).status_code == 200


def test_a_model_file_that_was_changed_on_the_disk_is_never_loaded(settings: Settings) -> None:
    files = settings.home / "serving" / "models"
    with serve(settings) as client:
        for file in files.glob("*.onnx"):
            file.write_bytes(model_file("return_5d", "9"))
        assert "has changed" in problem(ask(client, {"features": window()}), 503)["detail"]
        # It is fetched and examined anew.
        eventually(lambda: ask(client, {"features": window()}).status_code == 200)
        assert ask(client, {"features": window()}).json()["forecasts"][0]["mean"] == pytest.approx(0.02)


def test_answers_never_mix_versions_while_the_champion_changes(settings: Settings) -> None:
    write(settings, session("AAPL", version="2"))
    with serve(settings) as client:

        def answering() -> str:
            found = ask(client, *[{"features": window()}] * 3).json()
            if "forecasts" not in found:  # version 2 is scaled by another model, and wants no ewma_vol
                assert [error["detail"] for error in found["errors"]] == ["is no input of this model"] * 3
                return "2"
            assert {made["mean"] for made in found["forecasts"]} == {found["forecasts"][0]["mean"]}
            assert found["forecasts"][0]["mean"] == pytest.approx(0.02)
            return str(found["model"]["version"])

        for number in ("2", "1", "2"):
            promote(settings, "return_5d", number)
            eventually(lambda number=number: answering() == number)  # type: ignore[misc]
