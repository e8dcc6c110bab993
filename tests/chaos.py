"""kill -9 at random moments of ingestion and materialisation; a rerun must end in the lake of an undisturbed run.

`make chaos` does 50 rounds and prints them, `make test` a few. In each round a fresh home gets the embedded prices of a
few series and a landing folder with files of single days; meanwhile a reader asserts that no batch and no day is ever
seen in part. The moment is random in files that the lake holds, and a pause after that: on a busy machine as on an idle
one it lies within the work.
"""

import argparse
import csv
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow.compute as pc
from deltalake.exceptions import TableNotFoundError

from lake.ingest import ingest_source, unbalanced_batches, write_instruments
from lake.landing import Landing
from lake.settings import get_settings
from lake.sources import EMBEDDED
from lake.store import Lake
from tests.graph_kit import LAKEHOUSE, Home, compared, rows
from tests.processes import fork

SERIES = "FB,MTUM,VIX"  # a short one of each embedded source
LAST_EMBEDDED = datetime(2022, 12, 28, tzinfo=UTC)
DROPPED_DAYS = 3
DROPPED_SYMBOLS = tuple(f"NEW{number}" for number in range(20))
_MATERIALIZE = (LAKEHOUSE, "materialize", "--select", "group:raw or group:market", "--missing")


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nobody kills leaves behind: the lake, how many files that is, and the rows of each batch."""

    home: Home
    files: int
    batches: Mapping[object, int]

    @classmethod
    def of(cls, home: Home) -> "Undisturbed":
        return cls(home, _files(home), _counts(home.lake, "raw/bars", "batch_id"))


@dataclass
class Round:
    """One kill and what came of it; `problems` is empty where all is well."""

    what: str
    files: int
    pause: float
    phase: str = ""
    reads: int = 0
    problems: list[str] = field(default_factory=list)


def new_home(folder: Path) -> Home:
    """A home with dropped files: days after the embedded prices, one of them corrected later, one with a bad row."""
    home = Home(folder, (("LAKEHOUSE_UNIVERSE", SERIES),))
    landing = Path(home.settings.landing_uri)
    landing.mkdir(parents=True)
    for number in range(DROPPED_DAYS):
        day = date(2023, 1, 2) + timedelta(days=number)
        closes = {symbol: 50 + place + math.sin(number + place) for place, symbol in enumerate(DROPPED_SYMBOLS)}
        _drop(landing / f"{number}-{day}.csv", day, closes)
        if number == 1:
            _drop(landing / f"{number}-{day}-corrected.csv", day, {s: close * 1.001 for s, close in closes.items()})
        if number == 2:
            _drop(landing / f"{number}-{day}-bad.csv", day, dict.fromkeys(DROPPED_SYMBOLS[:3], -1.0))
    return home


def ingestion_rounds(rounds: int, seed: int, folder: Path) -> Iterator[Round]:
    """Kill the ingestion of embedded prices and dropped files, as the asset `raw` does it, in a process of its own."""
    home = new_home(folder / "undisturbed")
    process = _ingesting(home)
    process.join()
    assert process.exitcode == 0
    reference = Undisturbed.of(home)
    moments = random.Random(seed)
    for number in range(rounds):
        home = new_home(folder / f"ingestion-{number}")
        this = Round("ingestion", moments.randrange(reference.files), moments.uniform(0, 0.1))
        with _reader(home, reference, this):
            process = _ingesting(home)
            _wait(home, this, process.is_alive)
            process.kill()
            process.join()
            this.phase = _phase(home)
            process = _ingesting(home)
            process.join()
            if process.exitcode != 0:
                this.problems.append("the rerun failed")
        yield _compared(this, home, reference)


def materialization_rounds(rounds: int, seed: int, folder: Path) -> Iterator[Round]:
    """Kill `lakehouse materialize` of raw and market: at random the command alone or its process group too."""
    home = new_home(folder / "undisturbed-market")
    done = home.run(*map(str, _MATERIALIZE[1:]))
    assert done.returncode == 0, done.stdout + done.stderr
    reference = Undisturbed.of(home)
    moments = random.Random(seed)
    for number in range(rounds):
        home = new_home(folder / f"materialization-{number}")
        group = moments.random() < 0.5
        what = "lakehouse and its children" if group else "lakehouse alone"
        this = Round(what, moments.randrange(reference.files), moments.uniform(0, 3))
        with _reader(home, reference, this), home.start(*_MATERIALIZE) as started:
            process = started.process
            _wait(home, this, started.is_alive)
            if started.is_alive():
                (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            this.phase = _phase(home)
            done = home.run(*map(str, _MATERIALIZE[1:]))  # what the killed command left behind goes on beside it
            if done.returncode != 0:
                this.problems.append(f"the rerun failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        yield _compared(this, home, reference)


def main() -> int:
    """Print a line a round and a summary; 1 where a round went wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="one in five kills a materialisation (default: 50)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: random")
    options = parser.parse_args()
    print(f"{options.rounds} rounds, seed {options.seed}", flush=True)
    of_graph = options.rounds // 5
    done = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        for rounds in (
            ingestion_rounds(options.rounds - of_graph, options.seed, folder),
            materialization_rounds(of_graph, options.seed, folder),
        ):
            for this in rounds:
                done.append(this)
                result = "same lake" if not this.problems else "; ".join(this.problems)
                when = f"{this.pause:.2f} s after {this.files} files"
                print(f"{len(done):>3}  kill -9 of {this.what} {when}: {this.phase}: {result}", flush=True)
    failed = sum(bool(this.problems) for this in done)
    phases = Counter(this.phase for this in done)
    reads = sum(this.reads for this in done)
    print(f"{len(done) - failed} of {len(done)} rounds ended in the undisturbed lake; {reads} reads, none of a part.")
    print("Killed with " + "; ".join(f"{phase}: {count}" for phase, count in sorted(phases.items())))
    return 1 if failed else 0


def _drop(path: Path, day: date, closes: Mapping[str, float]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("symbol", "date", "close"), *((s, day, close) for s, close in closes.items())])
    age = 1_700_000_000 + len(list(path.parent.iterdir()))  # taken in this order, and not as still being written
    os.utime(path, (age, age))


def _ingesting(home: Home) -> BaseProcess:
    return fork(_ingest, str(home.path))


def _ingest(home: str) -> None:
    os.environ |= {"LAKEHOUSE_HOME": home, "LAKEHOUSE_UNIVERSE": SERIES}
    settings = get_settings()
    lake = Lake.from_settings(settings)
    write_instruments(lake, settings.universe_symbols)
    for source in EMBEDDED.values():
        ingest_source(lake, source, settings.universe_symbols)
    Landing(settings).ingest(lake)


def _wait(home: Home, this: Round, is_alive: Callable[[], bool]) -> None:
    """Until the lake has as many files as the round says, and a pause; or until the process has ended."""
    while _files(home) <= this.files and is_alive():
        time.sleep(0.005)
    time.sleep(this.pause)


def _files(home: Home) -> int:
    return sum(len(files) for _, _, files in os.walk(home.settings.lake_uri))


@contextmanager
def _reader(home: Home, reference: Undisturbed, this: Round) -> Iterator[None]:
    """Read the lake in a loop; what is wrong goes to the round's problems."""
    over = threading.Event()

    def read() -> None:
        while not over.wait(0.1):
            try:
                this.problems += _partial(home.lake, reference)
                this.reads += 1
            except TableNotFoundError:
                pass
            except Exception as error:
                this.problems.append(f"a read failed: {error!r}")

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _partial(lake: Lake, reference: Undisturbed) -> list[str]:
    """Batches of raw/bars and dropped days of the market tables that are there in part."""
    found = _counts(lake, "raw/bars", "batch_id")
    problems = [f"{count} rows of batch {b}" for b, count in found.items() if count != reference.batches.get(b)]
    for table in ("market/bars", "market/indicators", "market/features"):
        if lake.exists(table):
            days = _counts(lake, table, "ts", pc.field("ts") > LAST_EMBEDDED)
            problems += [
                f"{count} symbols of {day:%Y-%m-%d} in {table}"
                for day, count in days.items()
                if count != len(DROPPED_SYMBOLS)
            ]
    return problems


def _counts(lake: Lake, table: str, column: str, condition: pc.Expression | None = None) -> dict[object, int]:
    """Rows by value of a column."""
    counts = lake.read(table, [column], condition)[column].value_counts()
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in counts}


def _phase(home: Home) -> str:
    """Where the kill has hit, by what the lake holds."""
    lake = home.lake
    batches = len(_counts(lake, "raw/bars", "batch_id")) if lake.exists("raw/bars") else 0
    ledger = lake.row_count("raw/batches") if lake.exists("raw/batches") else 0
    waiting = len(list(Path(home.settings.landing_uri).glob("*.csv")))
    market = sum(table.startswith("market/") for table in lake.tables())
    return f"{batches} batches of bars, {ledger} in the ledger, {waiting} files wait, {market} market tables"


def _compared(this: Round, home: Home, reference: Undisturbed) -> Round:
    """The round, with whatever differs from the undisturbed lake among its problems."""
    if home.lake.tables() != reference.home.lake.tables():
        this.problems.append(f"there are {home.lake.tables()}")
    else:
        differ = [table for table in compared(home) if not rows(home, table).equals(rows(reference.home, table))]
        this.problems += [f"{table} differs" for table in differ]
        this.problems += [f"batch {batch} does not balance" for batch in unbalanced_batches(home.lake)]
    if _landed(home) != _landed(reference.home):
        this.problems.append(f"the landing folder holds {_landed(home)}")
    if not this.problems:
        shutil.rmtree(home.path)
    return this


def _landed(home: Home) -> list[str]:
    landing = Path(home.settings.landing_uri)
    return sorted(str(path.relative_to(landing)) for path in landing.rglob("*.csv"))


if __name__ == "__main__":
    sys.exit(main())
