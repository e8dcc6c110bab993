"""DuckDB and Spark, here and on the same bars: bars, indicators, ranks and features built whole, then one new day."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.indicators import Dbt, dbt, market
from benchmarks.measure import Measure
from benchmarks.walks import write_next_session
from lake.store import Lake

MODELS = ("bars", "indicators", "cross_section", "features")
ENGINES = {"DuckDB": "dbt.cli.main", "Spark": "lake.spark_dbt"}


def run(home: Path, symbols: int = 500, sessions: int = 5_000) -> Iterator[Measure]:
    """One engine after the other; Spark with its own defaults, so its driver, which is all of it here, has 1 GiB."""
    first, *others = (home / f"on-{engine}" for engine in ENGINES)
    rows = market(Lake(str(first / "lake")), symbols, sessions)
    for other in others:
        shutil.copytree(first, other)
    for engine, module in ENGINES.items():
        folder = home / f"on-{engine}"
        yield from _measures(f"{engine}: {rows / 1e6:.1f}M rows", _run(folder, module))
        write_next_session(Lake(str(folder / "lake")))
        yield from _measures(f"{engine}: one new day of {symbols} symbols", _run(folder, module))


def _run(home: Path, module: str) -> Dbt:
    return dbt(home, "run", "--select", *MODELS, module=module)


def _measures(what: str, taken: Dbt) -> Iterator[Measure]:
    yield Measure(f"{what}, the whole call of dbt", taken.seconds, "s")
    for model, seconds in taken.models.items():
        yield Measure(f"  of that {model}", seconds, "s")
    yield Measure("  peak memory", taken.peak_mib, "MiB")
