"""Loading the code location in a fresh interpreter: every process of Dagster pays it."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Measure, running

_LOAD = "from assets_pkg.definitions import build_definitions; build_definitions().resolve_asset_graph()"


def run(home: Path) -> Iterator[Measure]:
    """Median of three; the dbt manifest is there already, as it is after the first start."""
    yield Measure("code location: interpreter start to asset graph", statistics.median(_loads(home)), "s", 5)


def _loads(home: Path) -> Iterator[float]:
    for _ in range(3):
        began = time.perf_counter()
        with running(home, ["-c", _LOAD]) as command:
            output, _ = command.process.communicate()
            seconds = time.perf_counter() - began
        if command.process.returncode != 0:
            raise RuntimeError(output)
        yield seconds
