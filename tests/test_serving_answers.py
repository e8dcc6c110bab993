"""Formats, caching and pages of answers, the past of forecasts, and a client that is generated from the document."""

import csv
import io
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.settings import Settings
from lake.store import Lake
from lake.tables import TABLES
from tests.serving_kit import SESSION, eventually, forecast, make_settings, problem, promote, serve, session, write

SCORES = TABLES["forecasts/scores"].schema


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path, tmp_path_factory)


@pytest.mark.parametrize("path", ["/v1/predictions/AAPL", "/v1/predictions", "/v1/predictions?format=csv"])
def test_what_a_client_has_is_not_sent_again_until_it_changes(settings: Settings, path: str) -> None:
    write(settings, session("AAPL") + session("AAPL", version="2", mean=0.02))
    with serve(settings) as client:
        first = client.get(path)
        known = {"If-None-Match": f'"other", W/{first.headers["etag"]}'}
        again = client.get(path, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert client.get(path, headers={"If-Modified-Since": first.headers["last-modified"]}).status_code == 304
        for stale in ({"If-None-Match": '"x"'}, {"If-Modified-Since": "yesterday"}, {"If-None-Match": ""}):
            assert client.get(path, headers=stale).status_code == 200
        promote(settings, "return_5d", "2")
        eventually(lambda: client.get(path, headers=known).status_code == 200)


def test_csv_has_a_line_a_forecast_with_its_intervals(settings: Settings) -> None:
    write(settings, session("AAPL", "MSFT"))
    with serve(settings) as client:
        answer = client.get("/v1/predictions", headers={"Accept": "text/csv"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        lines = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(line["symbol"], line["target"]) for line in lines] == [
            (symbol, target) for symbol in ("AAPL", "MSFT") for target in ("return_5d", "volatility_5d")
        ]
        made = client.get("/v1/predictions/AAPL").json()["forecasts"][0]
        assert float(lines[0]["mean"]) == made["mean"]
        assert float(lines[0]["lower_80"]) == made["intervals"][0]["lower"]
        assert float(lines[0]["upper_95"]) == made["intervals"][2]["upper"]
        assert (lines[0]["model"], lines[0]["version"]) == ("return_5d", "1")
        assert json.loads(lines[0]["lake_versions"]) == {"market/features": 12}
        assert client.get("/v1/predictions/aapl?format=csv").text.splitlines() == answer.text.splitlines()[:3]
        for accept, kind in (
            ("application/json, text/csv;q=0.5", "application/json"),
            ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
            ("*/*, text/csv;q=0.1", "application/json"),
            ("text/csv;q=x", "application/json"),
        ):
            assert client.get("/v1/predictions", headers={"Accept": accept}).headers["content-type"] == kind
        assert client.get("/v1/predictions?format=json", headers={"Accept": "text/csv"}).json()["total"] == 2
        problem(client.get("/v1/predictions?format=xml"), 422)


def test_pages_hold_every_symbol_once(settings: Settings) -> None:
    symbols = [f"S{number:02}" for number in range(7)]
    write(settings, session(*symbols))
    with serve(settings) as client:
        seen, offset = [], 0
        while offset is not None:
            page = client.get("/v1/predictions", params={"limit": 3, "offset": offset}).json()
            assert page["total"] == 7
            seen += [found["symbol"] for found in page["predictions"]]
            offset = page["next_offset"]
        assert seen == symbols
        assert client.get("/v1/predictions?offset=7").json()["predictions"] == []
        problem(client.get("/v1/predictions?limit=0"), 422)


def test_the_history_of_a_symbol_is_paged_with_scores_where_the_outcome_is_known(settings: Settings) -> None:
    days = [SESSION - timedelta(days=day) for day in range(4)]
    rows = [row for day in days for row in session("AAPL", as_of=day)]
    write(settings, rows + session("MSFT"))
    scored = forecast("AAPL", "return_5d", days[3])["id"]
    score: dict[str, Any] = {
        "id": scored,
        "outcome": -0.01,
        "error": -0.02,
        "loss": 0.0004,
        "known_at": SESSION,
        "hits": [{"level": 0.9, "hit": True}],
    }
    with serve(settings) as client:
        first = client.get("/v1/predictions/aapl/history?limit=3").json()
        assert all(made["score"] is None for made in first["forecasts"])  # there is no table of scores yet
        made = {name: value for name, value in forecast("AAPL", "return_5d", days[3]).items() if name in SCORES.names}
        lake = Lake.from_settings(settings)
        lake.create("forecasts/scores")
        lake.append("forecasts/scores", pa.Table.from_pylist([made | score], SCORES))
        seen = first["forecasts"]
        while first["next_cursor"]:
            write(settings, session("AAPL", as_of=SESSION + timedelta(days=1 + len(seen))))  # moves no page
            first = client.get(
                "/v1/predictions/AAPL/history", params={"limit": 3, "cursor": first["next_cursor"]}
            ).json()
            seen += first["forecasts"]
        assert len(seen) == len({made["id"] for made in seen}) == 8
        assert {made["id"] for made in seen} == {row["id"] for row in rows}
        assert [made["as_of"] for made in seen] == sorted((made["as_of"] for made in seen), reverse=True)
        (found,) = [made["score"] for made in seen if made["id"] == scored]
        assert found == {name: value for name, value in score.items() if name != "id"} | {
            "known_at": "2022-12-28T00:00:00Z"
        }
        only = client.get("/v1/predictions/AAPL/history?target=return_5d").json()["forecasts"]
        assert {made["target"] for made in only} == {"return_5d"}
        for cursor in ("x", "%27", "====", "eHw=", "é"):
            problem(client.get("/v1/predictions/AAPL/history", params={"cursor": cursor}), 422)
        problem(client.get("/v1/predictions/NONE/history"), 404)


def test_the_lineage_of_a_forecast_names_what_is_broken(settings: Settings) -> None:
    made = forecast("AAPL", "return_5d")
    write(settings, [made])
    with serve(settings) as client:
        found = client.get(f"/v1/forecasts/{made['id']}/lineage").json()
        assert found["forecast"]["symbol"] == "AAPL"
        assert any("return_5d, version 1" in link["title"] for link in found["links"])
        assert any("MLflow run" in problem for problem in found["broken"])  # the kit registers without a run
        problem(client.get(f"/v1/forecasts/{'0' * 16}/lineage"), 404)
        problem(client.get("/v1/forecasts/../lineage"), 404)
        problem(client.get("/v1/forecasts/%27;--/lineage"), 422)


def test_a_model_card_is_json_for_programs_and_a_page_for_people(settings: Settings) -> None:
    write(settings, session("AAPL"))
    folder = Path(settings.reports_uri) / "cards" / "return_5d"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text('{"name": "return_5d"}')
    (folder / "1.html").write_text("<h1>return_5d</h1>")
    with serve(settings) as client:
        answer = client.get("/v1/models/return_5d/1/card")
        assert answer.json() == {"name": "return_5d"}
        assert answer.headers["content-type"] == "application/json"
        page = client.get("/v1/models/return_5d/1/card", headers={"Accept": "text/html"})
        assert page.text == "<h1>return_5d</h1>"
        problem(client.get("/v1/models/return_5d/2/card"), 404)
        for odd in ("../1", "..%2f1", "return_5d/1%2f..", "return_5d/x"):
            assert client.get(f"/v1/models/{odd}/card").status_code in (404, 422)


def test_a_client_generated_from_the_openapi_document_asks_and_understands(settings: Settings, tmp_path: Path) -> None:
    write(settings, session("AAPL", "MSFT"))
    with serve(settings) as client:
        (tmp_path / "openapi.json").write_bytes(client.get("/openapi.json").content)
        tool = Path(sys.executable).with_name("openapi-python-client")
        command = [tool, "generate", "--path", "openapi.json", "--meta", "none", "--output-path", "lakehouse_client"]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
        assert "WARNING" not in made.stdout + made.stderr
        script = """
import sys
from lakehouse_client import Client
from lakehouse_client.api.forecasts import get_prediction, list_predictions
from lakehouse_client.models import Prediction, Problem
client = Client(base_url=sys.argv[1])
found = get_prediction.sync(client=client, symbol="AAPL")
assert isinstance(found, Prediction), found
assert found.forecasts[0].model.version == "1"
assert found.forecasts[0].intervals[0].level == 0.8
assert len(list_predictions.sync(client=client, symbols="MSFT,AAPL").predictions) == 2
missing = get_prediction.sync(client=client, symbol="APPL")
assert isinstance(missing, Problem) and missing.status == 404
"""
        used = subprocess.run(
            [sys.executable, "-c", script, str(client.base_url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert used.returncode == 0, used.stderr
