"""The whole graph on the embedded prices, from an empty home: time, memory, and how much of the time is work."""

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Measure, running

_HEAVY = ("keras", "tensorflow", "mlflow", "evidently", "sklearn.ensemble", "skl2onnx", "dagster_mlflow")


def run(home: Path) -> Iterator[Measure]:
    """Materialise everything; raises `RuntimeError` with the command's words where that fails.

    The time is told apart into asset steps and the rest (interpreter, code location, Dagster's bookkeeping between the
    steps). The steps import the heavy libraries when they first need them; what that takes is measured in a process of
    its own, and work is the time of the steps without it.
    """
    began = time.perf_counter()
    with running(home, ["-m", "assets_pkg.cli", "materialize"]) as command:
        output, _ = command.process.communicate()
        seconds = time.perf_counter() - began
    if command.process.returncode != 0:
        raise RuntimeError(output)
    steps = _step_seconds(home)
    inside, imports = sum(steps.values()), _import_seconds(home)
    yield Measure("graph: all assets", seconds, "s", 150)
    yield Measure("graph: peak memory of all its processes", command.peak_mib, "MiB", 4096)
    for step, taken in steps.items():
        yield Measure(f"  step {step.replace('__', '/')}", taken, "s")
    yield Measure("  importing TensorFlow, MLflow, Evidently ...", imports, "s")
    yield Measure("  interpreter, code location, Dagster", seconds - inside, "s")
    yield Measure("  work: share of the steps without the imports", 100 * (inside - imports) / seconds, "%")


def _step_seconds(home: Path) -> dict[str, float]:
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        (built,) = instance.get_runs()
        steps = sorted(instance.get_run_step_stats(built.run_id), key=lambda step: step.start_time or 0)
        return {step.step_key: (step.end_time or 0) - (step.start_time or 0) for step in steps}


def _import_seconds(home: Path) -> float:
    timed = (
        "import assets_pkg.definitions, time; began = time.perf_counter()\n"
        f"import {', '.join(_HEAVY)}\nprint(time.perf_counter() - began)"
    )
    with running(home, ["-c", timed]) as command:
        output, _ = command.process.communicate()
    return float(output.splitlines()[-1])
