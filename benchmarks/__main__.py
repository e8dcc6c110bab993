"""Runs every measurement in a fresh home folder and prints one table; ends with 1 when a limit is broken."""

import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import api, code_location, graph, ingest, up
from benchmarks.measure import Measure, machine


def main() -> int:
    """Measure, print, and say by the exit code whether every promise was kept."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` stops what was started
    print(f"{machine()}\n", flush=True)
    kept = True
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        home = Path(folder)
        for measurement in (
            graph.run,
            code_location.run,
            api.run,
            up.run,
            ingest.run,
        ):  # the first builds what the next three use
            for measure in measurement(home):
                kept &= _show(measure)
    return 0 if kept else 1


def _show(measure: Measure) -> bool:
    verdict = "" if measure.limit is None else f"limit {measure.limit:>6,g}   {'ok' if measure.kept else 'OVER'}"
    print(f"{measure.name:<58}{measure.value:>9,.1f} {measure.unit:<4}{verdict}".rstrip(), flush=True)
    return measure.kept


if __name__ == "__main__":
    sys.exit(main())
