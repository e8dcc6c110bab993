"""What it costs to call dbt from Dagster: the step that builds the market tables beside `dbt build` in a shell."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from assets_pkg.resources.dbt import PROJECT_DIR
from benchmarks.measure import Measure, running

_ROUNDS = 3
_SHELL = ["-m", "dbt.cli.main", "build", "--exclude-resource-type", "unit_test"]
_SHELL += ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
_DAGSTER = ["-m", "assets_pkg.cli", "materialize", "--select", "group:market"]


def run(home: Path) -> Iterator[Measure]:
    """Medians of rounds in turn, on a lake in which nothing has changed; the first round warms both up."""
    rounds = [(_seconds(home, _SHELL), _step_seconds(home)) for _ in range(1 + _ROUNDS)][1:]
    shell, step = (statistics.median(taken) for taken in zip(*rounds, strict=True))
    yield Measure("dbt: build in a shell", shell, "s")
    yield Measure("dbt: the same as a step of Dagster", step, "s")
    yield Measure("dbt: step / shell", step / shell, "x", 1.3)


def _step_seconds(home: Path) -> float:
    import dagster as dg

    _seconds(home, _DAGSTER)
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        (newest,) = instance.get_runs(limit=1)
        (step,) = instance.get_run_step_stats(newest.run_id, ["market"])
    return (step.end_time or 0) - (step.start_time or 0)


def _seconds(home: Path, arguments: list[str]) -> float:
    began = time.perf_counter()
    with running(home, arguments) as command:
        output, _ = command.process.communicate()
        seconds = time.perf_counter() - began
    if command.process.returncode != 0:
        raise RuntimeError(output)
    return seconds
