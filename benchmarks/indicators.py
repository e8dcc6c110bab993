"""`market/indicators` at scale: a full build beside its peers, 25M rows alone, one new day upon 1.5, 5 and 25M rows."""

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from deltalake import DeltaTable

from assets_pkg.resources.dbt import PROJECT_DIR
from benchmarks.measure import Measure, running
from benchmarks.peers import PEERS, RESULTS
from benchmarks.walks import write_next_session, write_walks
from lake.calendars import write_sessions
from lake.store import Lake

TABLE = "market/indicators"
ROUNDS = 2
_AGREEMENT = 1e-8  # of a column's usual size: TA-Lib's and pandas' moving sums round


@dataclass(frozen=True)
class Dbt:
    """What a call of dbt took: as a whole, and each model; and the memory of its processes."""

    seconds: float
    models: dict[str, float]
    peak_mib: float


def run(home: Path) -> Iterator[Measure]:
    """Full builds beside the peers, then the whole dbt step and one new day on a short, a middle and a long history."""
    row_seconds = yield from _beside_peers(home / "peers", symbols=500, sessions=5_000)
    for sessions in (300, 1_000, 5_000):  # with fewer than 260, the lookback, every series would be read whole
        yield from _at_scale(home / f"sessions-{sessions}", symbols=5_000, sessions=sessions, row_seconds=row_seconds)


def _beside_peers(home: Path, symbols: int, sessions: int) -> Iterator[Measure]:
    """In turns, each in a process of its own; a median of the rounds."""
    lake = Lake(str(home / "lake"))
    rows = market(lake, symbols, sessions)
    dbt(home, "run", "--select", "bars")
    ours: list[float] = []
    theirs: dict[str, list[list[float]]] = {name: [] for name in PEERS}
    for _ in range(ROUNDS):
        shutil.rmtree(home / "lake" / TABLE, ignore_errors=True)
        ours.append(dbt(home, "run", "--select", "indicators").models["indicators"])
        for name, measured in theirs.items():
            shutil.rmtree(home / name, ignore_errors=True)
            arguments = ["-m", "benchmarks.peers", name, lake.uri, str(home / name)]
            with running(home, arguments) as command:
                output, _ = command.process.communicate()
            if command.process.returncode != 0:
                raise RuntimeError(output)
            measured.append(json.loads(output.splitlines()[-1]))
    for name in theirs:
        _assert_same(lake, home / name)
    seconds = statistics.median(ours)
    yield Measure(f"indicators: full build of {rows / 1e6:.1f}M rows", seconds, "s")
    limits = {"TA-Lib loop": 1.5, "polars over()": 1, "pandas groupby": 1 / 3}
    for name, measured in theirs.items():
        reading, computing, writing, as_ours = np.median(measured, axis=0)
        total = reading + computing + writing
        yield Measure(f"  {name}", total, "s")
        yield Measure("    of that reading", reading, "s")
        yield Measure("    of that computing", computing, "s")
        yield Measure("    of that writing", writing, "s")
        yield Measure(f"  ours in times of {name}", seconds / total, "x", limits[name])
        yield Measure("    where it writes with our options", seconds / (total - writing + as_ours), "x")
    return seconds / rows


def _at_scale(home: Path, symbols: int, sessions: int, row_seconds: float) -> Iterator[Measure]:
    """The whole dbt step, its tests included, as Dagster calls it: from nothing, then for one new session, twice."""
    lake = Lake(str(home / "lake"))
    rows = market(lake, symbols, sessions)
    step = ("build", "--exclude-resource-type", "unit_test")
    built = dbt(home, *step)
    days = []
    for _ in range(2):
        write_next_session(lake)
        days.append(dbt(home, *step))
    size = f"{rows / 1e6:.1f}M rows"
    in_model = statistics.median(day.models["indicators"] for day in days)
    if rows > 10e6:
        seconds = built.models["indicators"]
        yield Measure(f"indicators: full build of {size}", seconds, "s")
        yield Measure("  time a row, in times of the smaller build", seconds / rows / row_seconds, "x", 1)
        yield Measure(f"dbt step: everything of {size}", built.seconds, "s")
        yield Measure("  peak memory", built.peak_mib, "MiB", 4096)
    yield Measure(f"one new day upon {size}: in the model", in_model, "s", 1)
    yield Measure("  the whole dbt step", statistics.median(day.seconds for day in days), "s", 8)
    for name, seconds in days[-1].models.items():
        yield Measure(f"    of that {name}", seconds, "s")


def market(lake: Lake, symbols: int, sessions: int) -> int:
    """Write the raw tables of so many random walks; return the number of bars."""
    lake.create("raw/instruments")
    rows = write_walks(lake, symbols, sessions)
    write_sessions(lake)
    return rows


def dbt(home: Path, *arguments: str, module: str = "dbt.cli.main") -> Dbt:
    """Call dbt, or what takes its arguments; raises `RuntimeError` with its words where it fails."""
    target = home / "target"
    place = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR), "--target-path", str(target)]
    began = time.perf_counter()
    with running(home, ["-m", module, *arguments, *place, "--log-path", str(target)]) as command:
        output, _ = command.process.communicate()
        seconds = time.perf_counter() - began
    if command.process.returncode != 0:
        raise RuntimeError(output)
    results = json.loads((target / "run_results.json").read_text())["results"]
    models = {
        r["unique_id"].split(".")[-1]: r["execution_time"] for r in results if r["unique_id"].startswith("model.")
    }
    return Dbt(seconds, models, command.peak_mib)


def _assert_same(lake: Lake, written: Path) -> None:
    """A peer's table says what ours says, in the first and the last series."""
    symbols = pc.min_max(lake.read(TABLE, ["symbol"])["symbol"]).as_py().values()
    ours, theirs = (
        dataset.to_pyarrow_table(filters=[("symbol", "in", list(symbols))]).sort_by(
            [("symbol", "ascending"), ("ts", "ascending")]
        )
        for dataset in (DeltaTable(lake.path(TABLE)), DeltaTable(written))
    )
    for name in RESULTS:
        ours_, theirs_ = (np.array(table[name].to_pandas(), dtype=float) for table in (ours, theirs))
        off = np.abs(ours_ - theirs_) / np.nanmedian(np.abs(ours_))
        if (np.isnan(ours_) != np.isnan(theirs_)).any() or np.nanmax(off) > _AGREEMENT:
            raise RuntimeError(f"{written.name} gives another {name}: {np.nanmax(off):.1e} off")
