"""The second `make run`: `lakehouse up` on a home where everything is built, until UI and API answer, then Ctrl-C."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Measure, free_port, running

_LAST_LINE = "Ctrl-C stops everything."


def run(home: Path) -> Iterator[Measure]:
    """One start and one stop; raises `RuntimeError` where it ends before it serves."""
    began = time.perf_counter()
    ports = {"api_port": free_port(), "dagster_port": free_port()}
    with running(home, ["-m", "assets_pkg.cli", "up"], **ports) as command:
        output = command.process.stdout
        assert output is not None
        said = ""
        while _LAST_LINE not in said:
            line = output.readline()
            said += line
            if not line:
                raise RuntimeError(f"lakehouse up has ended:\n{said}")
        yield Measure("second start: to UI and API ready", time.perf_counter() - began, "s", 30)
        began = time.perf_counter()
        command.process.send_signal(signal.SIGINT)
        command.process.wait(timeout=60)
        yield Measure("second start: Ctrl-C to everything stopped", time.perf_counter() - began, "s", 15)
        yield Measure("second start: processes left behind", command.survivors(), "", 0)
