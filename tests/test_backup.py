"""Backup and restore: what comes back in another place equals what was there, or the command says why not."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.backup import MANIFEST, BackupError, backup, restore
from lake.duck import connect
from lake.inventory import take_inventory
from lake.settings import Settings
from lake.store import Lake
from ml.registry import Registry
from tests.graph_kit import Built, Home
from tests.s3_kit import S3Server
from tests.serving_kit import make_settings, serve, session, write
from tests.test_store import instruments

TABLE = "raw/instruments"
TARGETS = ("return_5d", "volatility_5d")


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with two tables, each with several versions, a registry of two models, an artefact and a report."""
    (tmp_path / "here").mkdir()
    settings = make_settings(tmp_path / "here", tmp_path_factory)
    lake = Lake.from_settings(settings)
    for symbol in ("A", "B", "C"):
        lake.append(TABLE, instruments(symbol))
    lake.replace(TABLE, instruments("D"))
    write(settings, session("AAPL"))
    artifact = Path(settings.mlflow_artifacts, "lakehouse", "models", "m-1", "model.onnx")
    artifact.parent.mkdir(parents=True)
    artifact.write_bytes(b"onnx")
    client = Registry(settings).client
    client.create_experiment("lakehouse", artifact_location=f"{settings.mlflow_artifact_root}/lakehouse")
    report = Path(settings.reports_uri, "data_drift", "run.html")
    report.parent.mkdir(parents=True)
    report.write_text("<html>")
    return settings


def elsewhere(settings: Settings) -> Settings:
    """An empty home with a space and an umlaut in its path."""
    home = settings.home.parent / "über all"
    return Settings(home=home, mlflow_tracking_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")


def content(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def reach(server: S3Server) -> dict[str, str]:
    """Variables with which a server is reached while the home stays on the disk."""
    places = ("LAKEHOUSE_LAKE_URI", "LAKEHOUSE_LANDING_URI", "LAKEHOUSE_FILES_URI")
    return {name: value for name, value in server.variables("").items() if name not in places}


@pytest.fixture(params=["folder", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the backup goes: a folder, and S3."""
    if request.param == "folder":
        yield str(tmp_path / "backup")
        return
    server, bucket = S3Server(), f"backup-{uuid.uuid4()}"
    server.client().create_bucket(Bucket=bucket)
    for name, value in reach(server).items():
        monkeypatch.setenv(name, value)
    yield f"s3://{bucket}/nightly"
    server.stop()


def test_what_comes_back_in_another_place_is_what_was_there(settings: Settings, destination: str) -> None:
    settings = Settings(home=settings.home, mlflow_tracking_uri=settings.mlflow_tracking_uri)  # with the endpoint of S3
    manifest = backup(settings, destination)
    assert manifest.tables == {TABLE: 3, "forecasts/predictions": 1}
    there = elsewhere(settings)
    assert restore(there, destination) == manifest
    for folder in ("lake", "mlflow/artifacts", "reports"):
        assert content(there.home / folder) == content(settings.home / folder) != {}
    before, after = Lake.from_settings(settings), Lake.from_settings(there)
    for version in range(4):
        assert after.read(TABLE, version=version).equals(before.read(TABLE, version=version))
    with connect(after, {TABLE: 1}) as duck:
        assert duck.sql("select symbol from raw.instruments order by 1").fetchall() == [("A",), ("B",)]
    after.append(TABLE, instruments("E"))
    assert take_inventory(there, TABLE).readable == (0, 1, 2, 3, 4)
    root = Registry(there).client.get_experiment_by_name("lakehouse").artifact_location
    assert root == (there.home / "mlflow" / "artifacts" / "lakehouse").as_uri()
    with serve(there) as client:
        assert client.get("/v1/predictions/AAPL").status_code == 200
        assert len(client.get("/v1/models").json()["models"]) == 2


def test_a_backup_needs_an_empty_place(settings: Settings, tmp_path: Path) -> None:
    backup(settings, str(tmp_path / "backup"))
    with pytest.raises(BackupError, match="holds a backup already"):
        backup(settings, str(tmp_path / "backup"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(BackupError, match="is not empty"):
        backup(settings, str(tmp_path / "photos"))


def test_while_others_write_it_holds_what_was_there_when_it_began(settings: Settings, tmp_path: Path) -> None:
    lake, finished, written = Lake.from_settings(settings), threading.Event(), []

    def write_on() -> None:
        while not finished.is_set():
            written.append(lake.append(TABLE, instruments(f"N{len(written)}")))

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        while not written:
            time.sleep(0.01)
        for attempt in ("first", "second"):
            manifest = backup(settings, str(tmp_path / attempt))
    finally:
        finished.set()
        writer.join()
    there = elsewhere(settings)
    restore(there, str(tmp_path / "second"))
    copy, version = Lake.from_settings(there), manifest.tables[TABLE]
    assert 4 <= version < lake.version(TABLE)
    assert copy.version(TABLE) == version
    assert copy.read(TABLE).equals(lake.read(TABLE, version=version))


def test_a_registry_of_a_server_is_left_to_it(settings: Settings, tmp_path: Path) -> None:
    served = settings.model_copy(update={"mlflow_tracking_uri": "http://mlflow:5000"})
    manifest = backup(served, str(tmp_path / "backup"))
    assert not manifest.registry
    there = elsewhere(settings)
    restore(there, str(tmp_path / "backup"))
    assert not Path(there.mlflow_tracking_uri.removeprefix("sqlite:///")).exists()


def spoil(backup: Path, how: str) -> None:
    data = next((backup / "lake" / "raw" / "instruments").glob("*.parquet"))
    if how == "interrupted":
        (backup / MANIFEST).unlink()
        (backup / "backup-unfinished").touch()
    elif how == "no manifest":
        (backup / MANIFEST).unlink()
    elif how == "lost":
        data.unlink()
    elif how == "cut":
        data.write_bytes(data.read_bytes()[:-1])
    elif how == "flipped":
        data.write_bytes(data.read_bytes()[:-1] + b"x")
    elif how == "torn manifest":
        (backup / MANIFEST).write_text((backup / MANIFEST).read_text()[:-30])
    elif how == "path":
        manifest = json.loads((backup / MANIFEST).read_text())
        manifest["files"]["lake/../../thief"] = {"size": 0, "sha256": ""}
        (backup / MANIFEST).write_text(json.dumps(manifest))
    elif how == "name":
        manifest = json.loads((backup / MANIFEST).read_text())
        manifest["files"]["notes.txt"] = {"size": 1, "sha256": ""}
        (backup / MANIFEST).write_text(json.dumps(manifest))
        (backup / "notes.txt").write_text("x")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("interrupted", "is no whole backup: it was interrupted"),
        ("no manifest", "is no whole backup: it has no manifest.json"),
        ("lost", r"is damaged: .*\.parquet is missing or has another size \(1 such"),
        ("cut", r"is damaged: .*\.parquet is missing or has another size \(1 such"),
        ("flipped", r"\.parquet is damaged: it is not what was backed up"),
        ("torn manifest", "manifest.json cannot be read"),
        ("path", "names files outside"),
        ("name", "names notes.txt, which has no place in a home"),
    ],
)
def test_a_spoilt_backup_is_refused(settings: Settings, tmp_path: Path, how: str, words: str) -> None:
    backup(settings, str(tmp_path / "backup"))
    spoil(tmp_path / "backup", how)
    with pytest.raises(BackupError, match=words):
        restore(elsewhere(settings), str(tmp_path / "backup"))
    assert not Path(elsewhere(settings).mlflow_tracking_uri.removeprefix("sqlite:///")).exists()


def test_a_restore_goes_on_only_where_it_began_and_deletes_nothing_of_others(
    settings: Settings, tmp_path: Path
) -> None:
    backup(settings, str(tmp_path / "backup"))
    there = elsewhere(settings)
    data = next((tmp_path / "backup" / "lake").rglob("*.parquet"))
    whole = data.read_bytes()
    data.write_bytes(whole[:-1] + b"x")
    with pytest.raises(BackupError, match="is damaged"):  # when it has begun
        restore(there, str(tmp_path / "backup"))
    data.write_bytes(whole)

    production = tmp_path / "production"
    precious = [production / "market" / "bars" / "precious.parquet", there.home / "reports" / "precious.html"]
    for path in precious:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    part = there.home / "lake" / f".{uuid.uuid4().hex}.part"
    part.write_text("half")
    for place in ("lake_uri", "files_uri"):
        moved = Settings(home=there.home, mlflow_tracking_uri=there.mlflow_tracking_uri, **{place: str(production)})
        with pytest.raises(BackupError, match=f"began with .* and not {production}.*finish it with the settings of"):
            restore(moved, str(tmp_path / "backup"))
    registry = there.model_copy(update={"mlflow_tracking_uri": f"sqlite:///{tmp_path / 'other.db'}"})
    with pytest.raises(BackupError, match=r"as the place of mlflow/mlflow.db"):
        restore(registry, str(tmp_path / "backup"))
    restore(there, str(tmp_path / "backup"))
    assert [path.read_text() for path in precious] == ["precious"] * 2
    assert not part.exists()


@pytest.mark.parametrize("what", ["lake/raw/bars/part.parquet", "mlflow/mlflow.db", "reports/x.html"])
def test_a_restore_overwrites_nothing(settings: Settings, tmp_path: Path, what: str) -> None:
    backup(settings, str(tmp_path / "backup"))
    there = elsewhere(settings)
    taken = there.home / what
    taken.parent.mkdir(parents=True)
    taken.write_text("mine")
    with pytest.raises(BackupError, match="is there already"):
        restore(there, str(tmp_path / "backup"))
    assert content(there.home) == {what: hashlib.sha256(b"mine").hexdigest()}


_SLOWLY = """
import sys, time
from pathlib import Path
from lake.files import Folder
from lake.settings import Settings
from lake import backup
write = Folder.write
def slowly(self, path, content):
    time.sleep(0.05)
    return write(self, path, content)
Folder.write = slowly
home, what, place = sys.argv[1:]
print("begin", flush=True)
getattr(backup, what)(Settings(home=home), place)
"""


def killed(home: Path, what: str, place: Path, watched: Path) -> None:
    """Kill -9 when some files have been copied, in a process whose disk is slow."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    process = subprocess.Popen([sys.executable, "-c", _SLOWLY, str(home), what, str(place)], env=variables)
    deadline = time.monotonic() + 60
    while sum(path.is_file() for path in watched.rglob("*")) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_and_called_again_both_end_well(settings: Settings, tmp_path: Path) -> None:
    (settings.home / "mlflow").mkdir(exist_ok=True)
    shutil.move(settings.home / "mlflow.db", settings.home / "mlflow" / "mlflow.db")
    here = Settings(home=settings.home, mlflow_tracking_uri=f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}")
    place, there = tmp_path / "backup", elsewhere(settings)
    killed(here.home, "backup", place, place)
    with pytest.raises(BackupError, match="it was interrupted"):
        restore(there, str(place))
    manifest = backup(here, str(place))
    assert content(place).keys() == {*manifest.files, MANIFEST}

    killed(there.home, "restore", place, there.home)
    said = Home(there.home).run("status")
    assert said.returncode == 1
    assert said.stderr == f"lakehouse: {there.home} is half restored: run `lakehouse restore {place}` again.\n"
    another = shutil.copytree(place, tmp_path / "another")
    with pytest.raises(BackupError, match=f"is half restored from {place}"):
        restore(there, str(another))
    assert restore(there, str(place)) == manifest
    assert content(there.home / "lake") == content(here.home / "lake")


def test_a_place_that_cannot_be_used_is_told_in_one_line(settings: Settings, tmp_path: Path) -> None:
    server = S3Server()
    home = Home(tmp_path / "there", tuple(reach(server).items()))
    (tmp_path / "file").touch()
    wrong = (
        ("restore", str(tmp_path / "nowhere"), "nowhere is no whole backup: it has no manifest.json.\n"),
        (
            "restore",
            "s3://nobucket/x",
            "S3 has no bucket 'nobucket': create it, or correct SOURCE (s3://nobucket/x).\n",
        ),
        ("backup", str(tmp_path / "file" / "below"), "Not a directory"),
    )
    for command, place, words in wrong:
        done = home.run(command, place)
        assert done.returncode == 1
        assert done.stderr.startswith("lakehouse: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    server.stop()


def state(home: Home) -> dict[str, int | None]:
    """What a run from the same data must leave: versions of the tables, and how many models are registered."""
    lake, client = home.lake, Registry(home.settings).client
    tables = [table for table in lake.tables() if table.split("/")[0] in {"raw", "market", "forecasts"}]
    registered = {target: len(client.search_model_versions(f"name = '{target}'")) for target in TARGETS}
    return {table: lake.version(table) for table in [*tables, *(f"models/{it}" for it in TARGETS)]} | registered


@pytest.mark.slow
def test_a_whole_home_comes_back_and_building_it_again_from_the_same_data_changes_nothing(
    built: Built, tmp_path: Path
) -> None:
    made = built.home.run("backup", str(tmp_path / "backup"))
    assert (made.returncode, made.stderr) == (0, "")
    there = Home(tmp_path / "there")
    done = there.run("restore", str(tmp_path / "backup"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == made.stdout.splitlines()[0]
    here, now = Registry(built.home.settings), Registry(there.settings)
    for target in TARGETS:
        before, after = here.champion(target), now.champion(target)
        assert before is not None
        assert after == before
        assert str(there.path) in now.client.get_run(after.run_id).info.artifact_uri
    with serve(built.home.settings) as old, serve(there.settings) as new:
        assert new.get("/v1/predictions/AAPL").content == old.get("/v1/predictions/AAPL").content
        links = [re.findall(r'href="([^"]+)"', client.get("/reports").text) for client in (old, new)]
        assert set(links[0]) == set(links[1]) != set()
        assert new.get(links[1][-1], follow_redirects=True).status_code == 200
        assert new.get("/catalog", follow_redirects=True).status_code == 200
    before = state(there)
    again = there.materialize("--select", "not (group:catalog or group:monitoring)")
    assert again.returncode == 0, again.stdout + again.stderr
    assert state(there) == before
    for target in TARGETS:
        assert there.lake.row_count(f"models/{target}_champion") == 2  # decided once more
    forecasts = [home.lake.read("forecasts/predictions").sort_by("id") for home in (built.home, there)]
    assert forecasts[0].equals(forecasts[1])
