"""What people and machines see of the serving process besides forecasts: pages, files, metrics, its weight."""

import json
import os
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import Request
from prometheus_client.parser import text_string_to_metric_families

from lake.files import File
from lake.settings import Settings
from serving.files import PublicFolder
from serving.problems import ProblemError
from tests.serving_kit import (
    SESSION,
    make_settings,
    problem,
    serve,
    serving_process,
    session,
    write,
)


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path, tmp_path_factory)


def test_reports_are_listed_newest_first_and_nothing_outside_their_folder_is_served(settings: Settings) -> None:
    write(settings, session("AAPL"))
    (settings.home / "secret.html").write_text("secret")
    with serve(settings) as client:
        assert "No report yet" in client.get("/reports").text
        assert client.get("/reports/data_drift/none.html").status_code == 404
        drift = Path(settings.reports_uri) / "data_drift"
        drift.mkdir(parents=True)
        for age, name in enumerate(("old", "new & <b>")):
            for suffix in ("html", "json"):
                (drift / f"{name}.{suffix}").write_text(f"report {name}")
                os.utime(drift / f"{name}.{suffix}", (1_700_000_000 + age, 1_700_000_000 + age))
        index = client.get("/reports")
        assert index.status_code == 200
        assert "new &amp; &lt;b&gt;" in index.text
        assert index.text.index("new &amp;") < index.text.index(">old<")
        assert client.get("/reports/data_drift/new%20%26%20%3Cb%3E.html").text == "report new & <b>"
        (Path(settings.reports_uri) / "link.html").symlink_to(settings.home / "secret.html")
        for attempt in ("../secret.html", "%2e%2e/secret.html", "data_drift/..%2f..%2fsecret.html", "link.html", "%00"):
            answer = httpx.Request("GET", client.base_url)
            answer.url = answer.url.copy_with(raw_path=f"/reports/{attempt}".encode())
            problem(client.send(answer), 404)


def test_a_report_is_sent_in_chunks_and_not_again_to_whoever_has_it(settings: Settings) -> None:
    write(settings, session("AAPL"))
    report = Path(settings.reports_uri) / "data_drift" / "large.html"
    report.parent.mkdir(parents=True)
    report.write_bytes(b"x" * 3_000_000)
    with serve(settings) as client:
        first = client.get("/reports/data_drift/large.html")
        assert len(first.content) == 3_000_000
        assert first.headers["transfer-encoding"] == "chunked"
        for validator in (
            {"If-None-Match": first.headers["etag"]},
            {"If-Modified-Since": first.headers["last-modified"]},
        ):
            again = client.get("/reports/data_drift/large.html", headers=validator)
            assert (again.status_code, again.content) == (304, b"")
        report.write_bytes(b"y")
        again = client.get("/reports/data_drift/large.html", headers={"If-None-Match": first.headers["etag"]})
        assert again.text == "y"


def test_a_report_that_is_deleted_since_it_was_listed_is_missing(settings: Settings) -> None:
    class Outdated(PublicFolder):
        def files(self) -> dict[str, File]:
            return {"gone.html": File(datetime.now(UTC), 1, "1")}

    request = Request({"type": "http", "headers": []})
    with pytest.raises(ProblemError) as raised:
        Outdated(settings.reports_uri, settings).answer(request, "gone.html", "no such report")
    assert (raised.value.status, raised.value.detail) == (404, "no such report")


def test_the_catalogue_is_served_once_it_is_there(settings: Settings) -> None:
    write(settings, session("AAPL"))
    with serve(settings) as client:
        assert "no data catalogue yet" in problem(client.get("/catalog/"), 404)["detail"]
        assert "<h1>" in client.get("/catalog/", headers={"accept": "text/html,*/*"}).text
        Path(settings.catalog_uri).mkdir()
        (Path(settings.catalog_uri) / "index.html").write_text("<title>dbt</title>")
        for path in ("/catalog", "/catalog/", "/catalog/index.html"):
            assert client.get(path, follow_redirects=True).text == "<title>dbt</title>"
        (Path(settings.catalog_uri) / "dictionary.csv").write_text("table,column")
        assert client.get("/catalog/dictionary.csv").headers["content-type"].startswith("text/csv")
        assert client.get("/catalog/../readings").status_code == 404


def test_the_pages_work_without_a_network(settings: Settings) -> None:
    write(settings, session("AAPL"))
    with serve(settings) as client:
        assets = re.findall(r'(?:src|href)="([^"]+)"', client.get("/docs").text)
        assert len(assets) == 3
        for asset in assets:
            assert re.match("/[^/]", asset)
            assert client.get(asset).status_code == 200
        landing = client.get("/").text
        assert f"http://{settings.ui_host}:{settings.dagster_port}" in landing
        for path in ("/docs", "/reports", "/v1/predictions/AAPL", "/v1/models", "/v1/symbols", "/readyz", "/metrics"):
            assert f'href="{path}"' in landing
            assert client.get(path).status_code == 200
        assert not re.findall(r"(?:src|url)[=(]", landing)


def test_metrics_count_requests_by_route_and_tell_the_age_of_the_forecasts(settings: Settings) -> None:
    version = write(settings, session("AAPL"))
    with serve(settings) as client:
        for symbol in ("AAPL", "MSFT", "XOM"):
            client.get(f"/v1/predictions/{symbol}")
        client.get("/nothing/here")
        client.get("/reports/none.html")
        client.request("PROPFIND", "/v1/predictions/AAPL")
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
        }
    route = "/v1/predictions/{symbol}"
    assert samples[("http_requests_total", *sorted(("GET", route, "200")))] == 1
    assert samples[("http_requests_total", *sorted(("GET", route, "404")))] == 2
    assert samples[("http_requests_total", *sorted(("other", route, "405")))] == 1
    assert samples[("http_requests_total", *sorted(("GET", "other", "404")))] == 1
    assert samples[("http_requests_total", *sorted(("GET", "/reports/{path:path}", "404")))] == 1
    assert samples[("http_request_duration_seconds_count", *sorted(("GET", route)))] == 3
    assert samples[("http_requests_in_flight",)] == 1
    assert samples[("lakehouse_snapshot_version",)] == version
    assert samples[("lakehouse_forecast_as_of_timestamp_seconds", "return_5d")] == SESSION.timestamp()
    assert samples[("lakehouse_forecast_age_seconds", "volatility_5d")] > 0


TOUR = ("/", "/docs", "/openapi.json", "/reports", "/metrics", "/v1/models", "/v1/symbols", "/v1/predictions")
SERVING_PROCESS = """
import json, sys, threading, time, urllib.request
import uvicorn
config = uvicorn.Config("serving.app:create_app", factory=True, port=int(sys.argv[1]), log_level="warning")
server = uvicorn.Server(config)
threading.Thread(target=server.run, daemon=True).start()
ready = False
while not ready:
    time.sleep(0.01)
    try:
        ready = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/readyz").status == 200
    except OSError:
        pass
for path in sys.argv[2:]:
    urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}{path}").read()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_the_serving_process_imports_no_training_or_orchestration_library(settings: Settings) -> None:
    write(settings, session(*(f"S{number}" for number in range(32))))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = os.environ | {
        "LAKEHOUSE_HOME": str(settings.home),
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "no_proxy": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SERVING_PROCESS, str(port), *TOUR],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    heavy = {"dagster", "tensorflow", "keras", "mlflow", "evidently", "sklearn", "scipy", "pandas", "duckdb", "dbt"}
    heavy |= {"pyarrow", "onnxruntime", "onnx", "pickle5", "cloudpickle", "joblib"}
    assert heavy.isdisjoint(json.loads(done.stdout))


def test_the_server_needs_little_memory(settings: Settings) -> None:
    write(settings, session(*(f"S{number}" for number in range(32))))
    with serving_process(settings) as served:
        for path in TOUR:
            assert served.client.get(path).status_code == 200
        processes = [psutil.Process(served.process.pid), *served.workers()]
        # Pages that the processes share count once.
        assert sum(process.memory_full_info().pss for process in processes) < 150 * 2**20
