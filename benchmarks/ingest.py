"""Ingestion at scale: 5,000 synthetic symbols x 5,000 sessions, then one more session from the source and as a file."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.measure import Measure, running

SYMBOLS, SESSIONS, SYMBOLS_A_BATCH = 5_000, 5_000, 200
_VALIDATION = ("broken_rules", "splice_failures", "series_failures")


class Stopwatch:
    """Seconds spent in calls so far."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def run(home: Path, symbols: int = SYMBOLS) -> Iterator[Measure]:
    """Ingest in a process of its own, whose memory is watched; raises `RuntimeError` with its words where it fails."""
    with running(home, ["-m", "benchmarks.ingest", str(home / "scale"), str(symbols)]) as command:
        output, _ = command.process.communicate()
    if command.process.returncode != 0:
        raise RuntimeError(output)
    found = json.loads(output.splitlines()[-1])
    yield Measure(f"ingest: {found['bars'] / 1e6:.1f}M bars", found["bulk"], "s", 60)
    yield Measure("  of that validation", 100 * found["validation"] / found["bulk"], "%")
    yield Measure("  a bare write_deltalake of the same bars", found["bare"], "s")
    yield Measure("  times as long as that", found["bulk"] / found["bare"], "x")
    yield Measure("ingest: peak memory, with making the bars", command.peak_mib, "MiB", 4096)
    yield Measure(f"ingest: one more day of {symbols:,} symbols", found["day"], "s", 2)
    yield Measure("ingest: the day after, as a CSV file", found["file"], "s", 2)


def ingest_market(folder: Path, symbols: int) -> dict[str, float]:
    """Seconds of each part. Making the bars is not counted; their corporate actions are ingested with them and are."""
    import pandas as pd
    import pyarrow as pa
    from deltalake import write_deltalake

    import lake.ingest
    from lake.landing import ingest_file
    from lake.providers import Synthetic
    from lake.sources.base import BAR_COLUMNS
    from lake.sources.synthetic import SyntheticSource
    from lake.store import Lake

    bulk, validation, bare, day, file = (Stopwatch() for _ in range(5))
    store = Lake(str(folder / "lake"))
    market = SyntheticSource(Synthetic(symbols=symbols, sessions=SESSIONS + 2))
    lake.ingest.write_instruments(store, more={instrument.symbol: instrument for instrument in market.instruments})
    newest = []
    with patch.multiple(lake.ingest, **{name: validation(getattr(lake.ingest, name)) for name in _VALIDATION}):
        for series in market.frames(SYMBOLS_A_BATCH):
            held_back = series["ts"] >= sorted(series["ts"].unique())[-2]
            newest.append(series[held_back])
            frame = series[~held_back].reset_index(drop=True)
            rows = pa.Table.from_pandas(frame[list(BAR_COLUMNS)].assign(year=frame["ts"].dt.year), preserve_index=False)
            bare(write_deltalake)(str(folder / "bare"), rows, mode="append", partition_by=["year"])
            bulk(lake.ingest.ingest_delivery)(store, frame, market.name, market.origin)
    bars = store.row_count("raw/bars")
    first, second = (rows for _, rows in pd.concat(newest, ignore_index=True).groupby("ts"))
    day(lake.ingest.ingest_delivery)(store, first, market.name, market.origin)
    second[list(BAR_COLUMNS)].to_csv(folder / "day.csv", index=False)
    file(ingest_file)(store, folder / "day.csv")
    if store.row_count("raw/bars") != bars + len(first) + len(second) or lake.ingest.unbalanced_batches(store):
        raise RuntimeError("not every bar has landed once")
    watches = {"bulk": bulk, "validation": validation, "bare": bare, "day": day, "file": file}
    return {"bars": bars, **{name: watch.seconds for name, watch in watches.items()}}


if __name__ == "__main__":
    print(json.dumps(ingest_market(Path(sys.argv[1]), int(sys.argv[2]))))
