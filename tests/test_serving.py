"""What the API answers and what it refuses, over a real lake and a real registry."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jsonschema
import pytest

from lake.assignment import served_by_challenger
from lake.settings import Settings
from serving.app import create_app
from tests.serving_kit import (
    SESSION,
    eventually,
    forecast,
    make_settings,
    problem,
    promote,
    registry_client,
    serve,
    session,
    write,
)


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path, tmp_path_factory)


def test_a_symbol_answers_its_newest_forecasts_in_the_promised_shape(settings: Settings) -> None:
    write(settings, session("AAPL", as_of=SESSION - timedelta(days=1)) + session("AAPL", "BRK.B"))
    with serve(settings) as client:
        answer = client.get("/v1/predictions/AAPL")
        assert answer.status_code == 200
        expected = forecast("AAPL", "return_5d")
        found = answer.json()
        assert {name: found[name] for name in ("symbol", "as_of", "last_price")} == {
            "symbol": "AAPL",
            "as_of": "2022-12-28T00:00:00Z",
            "last_price": 100.0,
        }
        returns, volatility = found["forecasts"]
        assert returns == {
            "id": expected["id"],
            "target": "return_5d",
            "horizon": 5,
            "mean": 0.01,
            "price": 101.005,
            "intervals": sorted(expected["intervals"], key=lambda interval: interval["level"]),
            "model": {"name": "return_5d", "version": "1"},
            "lake_versions": {"market/features": 12},
            "as_of": "2022-12-28T00:00:00Z",
            "last_price": 100.0,
            "staleness_days": (datetime.now(UTC) - SESSION).days,
            "role": "champion",
            "contributions": expected["contributions"],
        }
        assert volatility["target"] == "volatility_5d"
        assert volatility["price"] is None
        assert client.get("/v1/predictions/aapl").content == answer.content
        assert client.get("/v1/predictions/brk.b").json()["symbol"] == "BRK.B"


def test_several_symbols_come_in_the_order_of_asking_and_all_without_asking(settings: Settings) -> None:
    write(settings, session("AAPL", "MSFT", "XOM"))
    with serve(settings) as client:

        def symbols(query: str) -> list[str]:
            return [found["symbol"] for found in client.get(f"/v1/predictions{query}").json()["predictions"]]

        assert symbols("") == ["AAPL", "MSFT", "XOM"]
        assert symbols("?symbols=xom,%20AAPL,xom") == ["XOM", "AAPL"]
        assert [found["symbol"] for found in client.get("/v1/symbols").json()["symbols"]] == ["AAPL", "MSFT", "XOM"]


def test_a_target_without_a_forecast_of_the_newest_session_says_which_session_it_is_of(settings: Settings) -> None:
    older = SESSION - timedelta(days=1)
    write(settings, [forecast("AAPL", "return_5d"), forecast("AAPL", "volatility_5d", older, last_price=99.0)])
    with serve(settings) as client:
        found = client.get("/v1/predictions/AAPL").json()
        assert (found["as_of"], found["last_price"]) == ("2022-12-28T00:00:00Z", 100.0)
        returns, volatility = found["forecasts"]
        assert (returns["as_of"], returns["last_price"]) == ("2022-12-28T00:00:00Z", 100.0)
        assert (volatility["as_of"], volatility["last_price"]) == ("2022-12-27T00:00:00Z", 99.0)


def test_an_unknown_symbol_is_a_404_that_hints_at_known_ones(settings: Settings) -> None:
    write(settings, session("AAPL", "MSFT"))
    with serve(settings) as client:
        found = problem(client.get("/v1/predictions/APPL"), 404)
        assert found["symbols"] == ["AAPL", "MSFT"]
        assert "AAPL" in found["detail"]
        assert found["instance"] == "/v1/predictions/APPL"
        assert "TSLA" in problem(client.get("/v1/predictions?symbols=AAPL,TSLA"), 404)["detail"]
        for odd in ("株式", "%00", "..", "%ff", "a b", "<script>", "'; drop table", "%F0%9F%9A%80"):
            problem(client.get(f"/v1/predictions/{odd}"), 404)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/predictions?symbols=", "symbols"),
        ("/v1/predictions?symbols=AAPL,,MSFT", "symbols"),
        ("/v1/predictions?symbol=AAPL", "symbol"),
        (f"/v1/predictions/{'A' * 65}", "symbol"),
    ],
)
def test_a_wrong_parameter_is_a_422_that_names_it(settings: Settings, path: str, parameter: str) -> None:
    write(settings, session("AAPL"))
    with serve(settings) as client:
        found = problem(client.get(path), 422)
        assert [error["parameter"] for error in found["errors"]] == [parameter]
        assert found["detail"].startswith(parameter)


def test_wrong_routes_and_methods_are_problems_too(settings: Settings) -> None:
    write(settings, session("AAPL"))
    with serve(settings) as client:
        problem(client.get("/v1/nothing"), 404)
        refused = client.post("/v1/predictions/AAPL")
        problem(refused, 405)
        assert refused.headers["allow"] == "GET"
        page = client.get("/nothing", headers={"accept": "text/html"})
        assert page.status_code == 404
        assert "<h1>Not Found</h1>" in page.text


def test_an_unexpected_failure_is_a_500_without_a_traceback(settings: Settings) -> None:
    write(settings, session("AAPL"))
    app = create_app(settings)

    @app.get("/fails")
    def fails() -> None:
        raise RuntimeError("password")

    with serve(settings, app=app) as client:
        answer = client.get("/fails")
        problem(answer, 500)
        assert "password" not in answer.text
        assert "Traceback" not in answer.text
        assert client.get("/v1/predictions/AAPL").status_code == 200


def test_answers_and_problems_are_what_the_openapi_document_promises(settings: Settings) -> None:
    write(settings, session("AAPL", "MSFT"))
    with serve(settings) as client:
        openapi = client.get("/openapi.json").json()
        assert openapi["openapi"].startswith("3.1")
        operations = [operation["operationId"] for path in openapi["paths"].values() for operation in path.values()]
        assert len(operations) == len(set(operations)) == 10
        asked = {
            "/v1/predictions/{symbol}": ["/v1/predictions/AAPL", "/v1/predictions/NONE", f"/v1/predictions/{'A' * 65}"],
            "/v1/predictions": ["/v1/predictions", "/v1/predictions?symbols=NONE", "/v1/predictions?symbols="],
            "/v1/predictions/{symbol}/history": [
                "/v1/predictions/AAPL/history",
                "/v1/predictions/NONE/history",
                "/v1/predictions/AAPL/history?cursor=x",
            ],
            "/v1/forecasts/{id}/lineage": [f"/v1/forecasts/{'0' * 16}/lineage", "/v1/forecasts/x/lineage"],
            "/v1/models/{name}/{version}/card": ["/v1/models/return_5d/1/card", "/v1/models/return_5d/x/card"],
            "/v1/symbols": ["/v1/symbols"],
            "/v1/models": ["/v1/models"],
            "/healthz": ["/healthz"],
            "/readyz": ["/readyz"],
        }
        assert {path for path, operations in openapi["paths"].items() if "get" in operations} == asked.keys()
        for template, paths in asked.items():
            for path in paths:
                answer = client.get(path)
                declared = openapi["paths"][template]["get"]["responses"][str(answer.status_code)]["content"]
                schema = declared[answer.headers["content-type"]]["schema"]
                jsonschema.Draft202012Validator(schema | {"components": openapi["components"]}).validate(answer.json())


def test_a_challenger_serves_its_share_of_the_symbols_where_it_has_forecast(settings: Settings) -> None:
    symbols = [f"S{i}" for i in range(20)]
    theirs = {symbol for symbol in symbols if served_by_challenger(symbol, 0.5)}
    rows = session(*symbols) + session(*symbols[:-1], version="2", role="challenger")
    write(settings, rows)
    promote(settings, "return_5d", "2", alias="challenger")

    def by_challenger(client: httpx.Client) -> set[str]:
        found = client.get("/v1/predictions").json()["predictions"]
        versions = {p["symbol"]: {f["target"]: f["model"]["version"] for f in p["forecasts"]} for p in found}
        assert {version["volatility_5d"] for version in versions.values()} == {"1"}
        return {symbol for symbol, version in versions.items() if version["return_5d"] == "2"}

    with serve(settings) as client:
        assert by_challenger(client) == set()
        for share, expected in (("0", set()), ("0.5", theirs - {"S19"}), ("1", set(symbols[:-1]))):
            registry_client(settings).set_registered_model_tag("return_5d", "challenger_share", share)
            eventually(lambda expected=expected: by_challenger(client) == expected)
