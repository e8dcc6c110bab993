"""The API process: from its start to the first forecast that it can answer, and its memory then."""

import statistics
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Measure, free_port, running, seconds_until


def run(home: Path) -> Iterator[Measure]:
    """Medians of three starts on the lake that the graph has built, from the state that a start before has left."""
    _start(home)
    starts, memory = zip(*(_start(home) for _ in range(3)), strict=True)
    yield Measure("api: start to ready", statistics.median(starts), "s", 2)
    yield Measure("api: memory", statistics.median(memory), "MiB", 150)


def _start(home: Path) -> tuple[float, float]:
    port = free_port()
    began = time.perf_counter()
    with running(home, ["-m", "serving"], api_port=port) as command:
        seconds = seconds_until(f"http://127.0.0.1:{port}/readyz", command, began)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/predictions").read()
        return seconds, command.own_memory_mib()
