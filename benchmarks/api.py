"""The API process: from its start to the first forecast that it can answer, and its memory then."""

import statistics
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Measure, free_port, running, seconds_until


def run(home: Path) -> Iterator[Measure]:
    """Medians of three starts on the lake that the graph has built; memory after every symbol was asked for."""
    starts, memory = zip(*(_start(home) for _ in range(3)), strict=True)
    yield Measure("api: start to ready", statistics.median(starts), "s", 3)
    yield Measure("api: memory", statistics.median(memory), "MiB", 200)


def _start(home: Path) -> tuple[float, float]:
    port = free_port()
    began = time.perf_counter()
    server = ["-m", "uvicorn", "serving.app:create_app", "--factory", "--port", str(port), "--no-access-log"]
    with running(home, server) as command:
        seconds = seconds_until(f"http://127.0.0.1:{port}/readyz", command, began)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/predictions").read()
        return seconds, command.memory_mib()
