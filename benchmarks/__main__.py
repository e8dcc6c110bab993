"""Runs measurements in a fresh home folder and prints one table; ends with 1 when a limit is broken."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import api, code_location, dbt_overhead, graph, indicators, ingest, serving, spark, up
from benchmarks.measure import Measure, machine

MEASUREMENTS = {
    "graph": graph.run,  # builds what the next four use
    "dbt_overhead": dbt_overhead.run,
    "code_location": code_location.run,
    "api": api.run,
    "up": up.run,
    "ingest": ingest.run,
    "indicators": indicators.run,
    "serving": serving.run,
    "spark": spark.run,
}
LONG = {"indicators", "serving", "spark"}


def main() -> int:
    """Measure, print, and say by the exit code whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    usual = [name for name in MEASUREMENTS if name not in LONG]
    parser.add_argument("what", nargs="*", default=usual, help=f"of {', '.join(MEASUREMENTS)}; default: all but {LONG}")
    chosen = parser.parse_args().what
    if unknown := set(chosen) - set(MEASUREMENTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` stops what was started
    print(f"{machine()}\n", flush=True)
    kept = True
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        for name, run in MEASUREMENTS.items():
            for measure in run(Path(folder)) if name in chosen else ():
                kept &= _show(measure)
    return 0 if kept else 1


def _show(measure: Measure) -> bool:
    verdict = ""
    if measure.limit is not None:
        verdict = f"limit {measure.limit:>6,g}   {'ok' if measure.kept else 'OVER'}"
    elif measure.least is not None:
        verdict = f"least {measure.least:>6,g}   {'ok' if measure.kept else 'UNDER'}"
    print(f"{measure.name:<58}{measure.value:>9,.1f} {measure.unit:<4}{verdict}".rstrip(), flush=True)
    return measure.kept


if __name__ == "__main__":
    sys.exit(main())
