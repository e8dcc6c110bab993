"""Everything on S3: the whole graph, killed and cut off from its store; what is said, and that a rerun mends it."""

import os
import signal
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import httpx
import pyarrow as pa
import pytest

from lake.files import Folder
from lake.landing import Landing
from lake.store import Lake
from ml.registry import Registry
from tests.graph_kit import LAKEHOUSE, Built, Home, Started, compared, eventually, rows
from tests.s3_kit import S3Server
from tests.serving_kit import serve
from tests.test_landing import Replaces

pytestmark = pytest.mark.xdist_group("s3")
BARS = b"symbol,date,close\nNEWCO,2022-01-03,5\nNEWCO,2022-01-04,5.1\n"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def home(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a bucket of its own, whose keys this process knows too."""
    bucket = f"market-{uuid.uuid4()}"
    server.client().create_bucket(Bucket=bucket)
    variables = server.variables(bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, variables[name])
    return Home(tmp_path / "home", tuple(variables.items()))


def the_first_bars_are_in(home: Home) -> bool:
    return (home.lake.version("raw/bars") or 0) > 0


def the_first_market_table_is_in(home: Home) -> bool:
    return home.lake.exists("market/bars")


def a_model_trains(home: Home) -> bool:
    database = home.path / "mlflow" / "mlflow.db"
    if not database.exists():
        return False
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        try:
            (runs,) = connection.execute("select count(*) from tags where value = 'models/volatility_5d'").fetchone()
        except sqlite3.OperationalError:  # no table yet
            return False
    return bool(runs)


def kill_when(moment: Callable[[Home], bool], home: Home, started: Started) -> None:
    """kill -9 of the command with its children."""
    process = started.process
    eventually(lambda: moment(home) or process.poll() is not None, 180, moment.__name__)
    assert process.poll() is None, started.output
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_graph_survives_kills_and_a_store_that_goes_away_and_ends_as_on_a_local_disk(
    built: Built, home: Home, server: S3Server
) -> None:
    command = (LAKEHOUSE, "materialize", *home.little_training, "--missing")
    with home.start(*command) as started:
        eventually(lambda: the_first_bars_are_in(home), 60, "the first bars")
        server.stop()
        code = started.ends(60)
    server.start()
    assert code == 1
    assert f"lakehouse: LAKEHOUSE_S3_ENDPOINT_URL {server.endpoint} does not answer" in started.output
    assert "Traceback" not in started.output
    assert "↳" not in started.output
    for moment in (the_first_market_table_is_in, a_model_trains):
        with home.start(*command) as started:
            kill_when(moment, home, started)
    done = home.materialize("--missing")
    assert done.returncode == 0, done.stdout + done.stderr

    with home.instance() as instance:
        statuses = [run.status for run in instance.get_runs()]
    assert statuses == [dg.DagsterRunStatus.SUCCESS, *[dg.DagsterRunStatus.FAILURE] * 3]
    client = Registry(home.settings).client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(experiments)} == {"FINISHED", "FAILED"}
    assert home.lake.tables() == built.home.lake.tables()
    for table in compared(built.home):
        assert rows(home, table).equals(rows(built.home, table)), table
    assert "market/features" in home.run("status").stdout
    with serve(home.settings) as here, serve(built.home.settings) as there:
        answer, expected = (client.get("/v1/predictions/AAPL").json() for client in (here, there))
        assert answer == expected
        assert here.get("/catalog/").text.startswith("<!")
        reports = Folder(home.settings.reports_uri, home.settings).files()
        (report,) = (name for name in reports if name.startswith("data_drift/") and name.endswith(".html"))
        assert here.get(f"/reports/{report}").headers["content-type"].startswith("text/html")
    assert not any((home.path / name).exists() for name in ("lake", "landing", "reports", "catalog"))
    assert not list((home.path / "mlflow").glob("artifacts"))


@pytest.mark.slow
def test_files_are_ingested_and_queried(home: Home, tmp_path: Path) -> None:
    (tmp_path / "NEWCO.csv").write_bytes(BARS)
    done = home.run("ingest", str(tmp_path / "NEWCO.csv"))
    assert "2 received = 2 accepted" in done.stdout, done.stderr
    assert " 5.1 " in home.run("query", "select close from raw.bars where symbol = 'NEWCO'").stdout


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"LAKEHOUSE_LAKE_URI": "s3://nowhere/lake"}, ("no bucket 'nowhere'", "LAKEHOUSE_LAKE_URI")),
        ({"LAKEHOUSE_LANDING_URI": "s3://nowhere/l"}, ("no bucket 'nowhere'", "LAKEHOUSE_LANDING_URI")),
        ({"LAKEHOUSE_FILES_URI": "s3://nowhere/f"}, ("no bucket 'nowhere'", "LAKEHOUSE_FILES_URI")),
        (
            {"LAKEHOUSE_S3_ENDPOINT_URL": "http://127.0.0.1:9"},
            ("LAKEHOUSE_S3_ENDPOINT_URL http://127.0.0.1:9 does not answer",),
        ),
    ],
    ids=["no lake bucket", "no landing bucket", "no files bucket", "no server"],
)
def test_what_is_wrong_is_told_in_one_line(home: Home, variables: dict[str, str], words: tuple[str, ...]) -> None:
    done = home.run("status", **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_wrong_key_is_told_in_one_line(home: Home, server: S3Server) -> None:
    httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=b"0")  # from now on moto wants to know the key
    try:
        done = home.run("status")
    finally:
        httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=b"inf")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "refuses bucket" in done.stderr
    assert "AWS_ACCESS_KEY_ID" in done.stderr


def test_a_file_is_not_lost_when_the_store_goes_before_it_is_moved(home: Home, server: S3Server, lake: Lake) -> None:
    class StopsTheStore(Lake):
        """A lake after whose last write for a file the store of the landing folder is gone."""

        def append_new(self, table: str, data: pa.Table) -> int:
            new = super().append_new(table, data)
            if table == "raw/readings":
                server.stop()
            return new

    settings = home.settings
    folder = Folder(settings.landing_uri, settings)
    folder.write("NEW[1].csv", BARS)  # a name that fsspec would take for a pattern
    landing = Landing(settings)
    eventually(lambda: bool(landing.waiting()), 10, "the file")
    try:
        with pytest.raises(Exception, match=r"(?i)connect"):
            landing.ingest(StopsTheStore(lake.uri))
    finally:
        server.start()
    before = lake.read("raw/bars")
    assert before.num_rows == 2
    (again,) = landing.ingest(lake)
    assert (again.accepted, again.unchanged) == (0, 2)
    assert lake.read("raw/bars").equals(before)
    assert list(folder.files()) == [f"processed/{again.batch_id}-NEW[1].csv"]


def test_a_file_that_is_replaced_while_it_is_ingested_is_not_lost(home: Home, server: S3Server, lake: Lake) -> None:
    folder, landing = Folder(home.settings.landing_uri, home.settings), Landing(home.settings)
    corrected = BARS.replace(b"2022-01-04", b"2022-01-05")
    folder.write("NEWCO.csv", BARS)
    eventually(lambda: bool(landing.waiting()), 10, "the file")
    landing.ingest(Replaces(lake, lambda: folder.write("NEWCO.csv", corrected)))
    assert folder.read("NEWCO.csv") == corrected
    eventually(lambda: bool(landing.waiting()), 10, "the file")
    (again,) = landing.ingest(lake)
    assert again.accepted > 0
    assert list(folder.files()) == [f"processed/{again.batch_id}-NEWCO.csv"]


def test_the_api_says_that_the_store_is_gone(home: Home, server: S3Server) -> None:
    with serve(home.settings, wait_ready=False) as client:
        assert "No report yet" in client.get("/reports").text
        server.stop()
        try:
            answer = client.get("/reports")
        finally:
            server.start()
        assert answer.status_code == 503
        assert home.settings.reports_uri in answer.json()["detail"]
        assert client.get("/reports").status_code == 200
