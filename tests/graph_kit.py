"""The real graph on a small universe: built, killed and served by the real command, in homes of their own."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pyarrow as pa
import yaml

from lake.settings import Settings
from lake.store import Lake
from tests.processes import run

ROOT = Path(__file__).resolve().parents[1]
LAKEHOUSE = Path(sys.executable).with_name("lakehouse")
UNIVERSE = ("AAPL", "IBM", "MSFT", "SP500")
ASSETS = 36
_LITTLE_TRAINING = {"config": {"epochs": 1, "lookback": 5}}
_CONFIG = {"ops": {"models__volatility_5d": _LITTLE_TRAINING, "models__return_5d": _LITTLE_TRAINING}}
BOOKKEEPING = {
    "ingested_at",
    "dagster_run_id",
    "mlflow_run_id",
    "created_at",
    "decided_at",
    "evaluated_at",
    "rejected_at",
    "flagged_at",
    "who",  # names the run
}


@dataclass(frozen=True)
class Home:
    """A home folder and the command `lakehouse` in it, with no other setting than those given here."""

    path: Path
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """That of this process without its settings, and with those of this home."""
        ours = ("LAKEHOUSE_", "MLFLOW_", "DAGSTER_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        own = {"LAKEHOUSE_HOME": str(self.path), "LAKEHOUSE_UNIVERSE": ",".join(UNIVERSE), **dict(self.variables)}
        return inherited | own

    @property
    def settings(self) -> Settings:
        """Its settings; the tracking URI by name, because MLflow sets its variable to the last one that was used."""
        own = {
            name.removeprefix("LAKEHOUSE_").lower(): value for name, value in self.variables if name.startswith("LAKE")
        }
        return Settings(home=self.path, mlflow_tracking_uri=f"sqlite:///{self.path / 'mlflow' / 'mlflow.db'}", **own)

    @property
    def lake(self) -> Lake:
        return Lake.from_settings(self.settings)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Its Dagster instance: runs and events."""
        with dg.DagsterInstance.from_config(str(self.settings.dagster_home)) as instance:
            yield instance

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`lakehouse ...` to its end, forked: for commands that take less time than their imports."""
        return run("assets_pkg.cli:main", arguments, ROOT, self.environment | variables)

    @contextmanager
    def start(self, *command: str | Path) -> Iterator["Started"]:
        """A command in a process group of its own; afterwards nothing that works in this home is left."""
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield Started(process)
        finally:
            for left in self.processes():
                with suppress(psutil.NoSuchProcess):
                    left.kill()
            process.wait()

    def processes(self) -> list[psutil.Process]:
        """Every process that works in this home, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("LAKEHOUSE_HOME") == str(self.path):
                    found.append(process)
        return found

    def materialize(self, *options: str) -> subprocess.CompletedProcess[str]:
        """The graph (or what `options` say of it), with little training."""
        return subprocess.run(
            [LAKEHOUSE, "materialize", *self.little_training, *options],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    @property
    def little_training(self) -> tuple[str, str]:
        """Options of `lakehouse materialize` for tests: the models need not be good."""
        config = self.path.parent / f"{self.path.name}.yaml"
        config.write_text(yaml.safe_dump(_CONFIG))
        return "--config", str(config)


class Started:
    """A running command, with what it has printed so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def says(self, words: str, seconds: float) -> None:
        """Wait until it has printed some words."""
        eventually(
            lambda: words in self.output or self.process.poll() is not None, seconds, f"{words} in {self.output}"
        )
        assert words in self.output, f"it ended ({self.process.poll()}) before {words}: {self.output}"

    def ends(self, seconds: float) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.append(line)


@dataclass(frozen=True)
class Built:
    """A home whose whole graph was built once, by `lakehouse materialize`."""

    home: Home
    output: str
    left_in_checkout: frozenset[str]

    @property
    def run_id(self) -> str:
        """The Dagster run that built it."""
        found = re.search(r"\(run ([0-9a-f-]{36})\)", self.output)
        assert found is not None, self.output
        return found[1]

    def copy(self, folder: Path) -> Home:
        """A home with the same lake, registry and event log, to be changed."""
        return Home(shutil.copytree(self.home.path, folder / "home"))


def rows(home: Home, table: str) -> pa.Table:
    """Rows of a table in the order of its columns, without when and by which run they were written."""
    data = home.lake.read(table)
    data = data.drop_columns([name for name in data.column_names if name in BOOKKEEPING])
    sortable = [name for name in data.column_names if not pa.types.is_nested(data.schema.field(name).type)]
    return data.sort_by([(name, "ascending") for name in sortable]).combine_chunks()


def compared(home: Home) -> list[str]:
    """The tables whose rows follow from the prices; upkeep tells how many files there were, and how long it took."""
    return [table for table in home.lake.tables() if not table.startswith("upkeep/")]


def build(home: Home) -> Built:
    """Build the whole graph in an empty home."""
    before = _entries()
    done = home.materialize()
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(home, done.stdout, frozenset(_entries() - before))


def _entries() -> set[str]:
    folders = (ROOT, ROOT / "dbt_project", ROOT / "dbt_project" / "target")
    return {str(path.relative_to(ROOT)) for folder in folders if folder.exists() for path in folder.iterdir()}


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
