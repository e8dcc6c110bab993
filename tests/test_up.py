"""`lakehouse up`: serves, lets a new session through to its forecast, and leaves nothing behind, however it ends."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest

from assets_pkg.processes import port_is_free
from tests.graph_kit import LAKEHOUSE, Built, Home, Started, eventually

CHROMIUM = Path("/usr/bin/chromium")
GROUPS = {"raw": 13, "market": 8, "models": 8, "forecasts": 3, "monitoring": 1, "catalog": 1, "upkeep": 2}
READY = "Ctrl-C stops everything."
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("up")]


@dataclass(frozen=True)
class Served:
    """A running `lakehouse up`."""

    home: Home
    started: Started
    api: httpx.Client
    dagster: str


@pytest.fixture(scope="module")
def home(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the built home, which the tests of this file change, with free ports."""
    path = built.copy(tmp_path_factory.mktemp("up")).path
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        ports = (str(first.getsockname()[1]), str(second.getsockname()[1]))
    return Home(path, (("LAKEHOUSE_API_PORT", ports[0]), ("LAKEHOUSE_DAGSTER_PORT", ports[1])))


@pytest.fixture(scope="module")
def served(home: Home) -> Iterator[Served]:
    begin = time.monotonic()
    with home.start(LAKEHOUSE, "up") as started:
        started.says(READY, 90)
        assert time.monotonic() - begin < 60, "a second start takes seconds"
        api, dagster = (f"http://127.0.0.1:{port}" for port in ports(home))
        with httpx.Client(base_url=api, trust_env=False, timeout=10) as client:
            yield Served(home, started, client, dagster)


def ports(home: Home) -> tuple[int, int]:
    variables = dict(home.variables)
    return int(variables["LAKEHOUSE_API_PORT"]), int(variables["LAKEHOUSE_DAGSTER_PORT"])


def assert_nothing_is_left(home: Home, seconds: float) -> None:
    """Every process of the home ends by itself and its ports are free."""
    eventually(lambda: not home.processes(), seconds, "all processes end")
    assert [port for port in ports(home) if not port_is_free("127.0.0.1", port)] == []


def test_killed_its_servers_end_by_themselves(home: Home) -> None:
    with home.start(LAKEHOUSE, "up") as started:
        started.says(READY, 90)
        started.process.kill()
        assert_nothing_is_left(home, 40)


def test_after_that_it_builds_nothing_again_and_prints_where_everything_is(served: Served) -> None:
    said = served.started.output
    assert "Nothing to do: every asset is materialised." in said
    api = str(served.api.base_url).rstrip("/")
    for address in (f"{served.dagster}/asset-groups", f"{api}/docs", f"{api}/reports", f"{api}/catalog"):
        assert re.search(rf"  {re.escape(address)}$", said, re.M), address
    assert served.home.settings.landing_uri in said


def test_what_is_printed_answers(served: Served) -> None:
    assert served.api.get("/readyz").status_code == 200
    forecast = served.api.get("/v1/predictions/AAPL").json()
    assert {found["target"] for found in forecast["forecasts"]} == {"return_5d", "volatility_5d"}
    assert forecast["forecasts"][0]["lake_versions"].keys() == {"market/features", "models/garch"}
    for page, words in (("/docs", "swagger"), ("/reports", ".html"), ("/catalog", "bb_percent_b_20")):
        answer = served.api.get(page, follow_redirects=True)
        assert answer.status_code == 200, page
        assert words in answer.text, page
    report = re.search(r'href="([^"]+\.html)"', served.api.get("/reports").text)
    assert report is not None
    assert served.api.get(f"/reports/{report[1].removeprefix('/reports/')}").status_code == 200
    assert httpx.get(f"{served.dagster}/server_info", trust_env=False).json()["dagster_version"]


@pytest.mark.browser
def test_a_browser_sees_every_group_materialised(served: Served, tmp_path: Path) -> None:
    if not CHROMIUM.exists():
        assert "CI" not in os.environ, f"continuous integration needs {CHROMIUM}"
        pytest.skip(f"{CHROMIUM} is not installed (Debian: apt install chromium)")
    counts: dict[str, list[tuple[str, str]]] = {}

    def all_are_counted() -> bool:
        counts.update(asset_counts(page(f"{served.dagster}/asset-groups", tmp_path)))
        return set(counts) == set(GROUPS) and all(counts.values())

    eventually(all_are_counted, 90, f"the lineage graph shows {set(GROUPS)}")
    assert counts == {group: [("green", str(assets))] for group, assets in GROUPS.items()}


def page(address: str, folder: Path) -> str:
    """The DOM of a page once its scripts have run."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=2200,1200"]
    options += [f"--disable-{what}" for what in ("background-networking", "component-update", "sync")]
    options += [f"--user-data-dir={folder}", "--virtual-time-budget=25000", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, address], capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def asset_counts(dom: str) -> dict[str, list[tuple[str, str]]]:
    """For each group node of the lineage page, its tags: colour (green: materialised) and number of assets."""
    parts = re.split(r'line-height: 1\.1em;">(\w+)</div>', dom)
    tag = re.compile(r"--tag-fill-color: var\(--color-background-(\w+)\).*?<span[^>]*>(\d+)</span>")
    return {group: tag.findall(node) for group, node in zip(parts[1::2], parts[2::2], strict=True)}


def test_a_second_one_in_the_same_home_is_told_so(served: Served) -> None:
    second = served.home.run("up")
    assert second.returncode == 1
    assert second.stderr.startswith(
        f"lakehouse: Another `lakehouse up` (process {served.started.process.pid}) works in {served.home.path}: "
    )
    assert second.stderr.count("\n") == 1
    assert served.api.get("/readyz").status_code == 200


def test_a_new_session_in_the_landing_folder_becomes_a_forecast(served: Served) -> None:
    before = served.api.get("/v1/predictions/AAPL").json()
    session = datetime.fromisoformat(before["as_of"]) + timedelta(days=1)
    landing = Path(served.home.settings.landing_uri)
    begun = datetime.now(UTC)
    landing.mkdir(exist_ok=True)
    landing.joinpath("AAPL.csv").write_text(f"date,close\n{session:%Y-%m-%d},{before['last_price'] * 1.01:.2f}\n")

    def newest() -> dict[str, object]:
        forecast: dict[str, object] = served.api.get("/v1/predictions/AAPL").json()
        return forecast

    eventually(lambda: datetime.fromisoformat(str(newest()["as_of"])) == session, 180, "the new session is forecast")
    assert newest()["last_price"] == pytest.approx(before["last_price"] * 1.01, abs=0.01)
    assert served.api.get("/v1/predictions/MSFT").json()["as_of"] == before["as_of"]
    eventually(lambda: not unfinished(served.home), 60, "its runs end")
    time.sleep(12)  # a tick of automation, in which nothing more may be asked for
    with served.home.instance() as instance:
        runs = instance.get_runs(dg.RunsFilter(created_after=begun))
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert sorted(run.tags["dagster/sensor_name"] for run in runs) == ["automation", "landing_files"]


def unfinished(home: Home) -> bool:
    with home.instance() as instance:
        return any(not run.is_finished for run in instance.get_runs())


def test_ctrl_c_stops_all_of_it(served: Served) -> None:
    family = psutil.Process(served.started.process.pid).children(recursive=True)
    assert len(family) >= 3  # API, Dagster UI, daemon
    os.killpg(served.started.process.pid, signal.SIGINT)
    assert served.started.ends(30) == 0
    assert served.started.output.endswith("Stopped.\n")
    assert not [process for process in family if process.is_running()]
    assert_nothing_is_left(served.home, 0)


def test_it_stops_with_the_make_that_has_started_it(home: Home) -> None:
    with home.start("/bin/sh", "-c", f"{LAKEHOUSE} up --stop-with-parent; exit") as started:
        started.says("Starting the servers", 90)
        started.process.kill()
        assert_nothing_is_left(home, 60)


def test_a_port_in_use_is_named_with_its_setting(home: Home) -> None:
    with socket.create_server(("127.0.0.1", ports(home)[0])):
        done = home.run("up")
    assert done.returncode == 1
    port = ports(home)[0]
    expected = f"lakehouse: Port {port} is in use: stop the program that listens there, or set LAKEHOUSE_API_PORT.\n"
    assert done.stderr == expected
