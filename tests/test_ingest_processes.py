"""Ingestion by several processes: killed between two writes and run again, or two at the same moment."""

import os
import signal
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pandas as pd
import pytest

from lake.ingest import close_interrupted_batches, create_raw_tables, ingest, unbalanced_batches
from lake.landing import ingest_file
from lake.store import Lake
from tests.bars import PRICES, walk
from tests.processes import FORKED, fork

WRITES = ("raw/bars", "raw/rejects", "raw/flags", "raw/batches", "raw/readings")


def ingest_and_die(uri: str, path: Path, before: str) -> None:
    """Ingest a file in this process, which is killed before it writes the table `before`."""
    write = Lake._write

    def die(self: Lake, table: str, *arguments: object, **options: object) -> None:
        if table == before:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, table, *arguments, **options)  # type: ignore[arg-type]

    Lake._write = die  # type: ignore[method-assign, assignment]
    ingest_file(Lake(uri), path)


def ingest_until_killed(lake: Lake, path: Path, before: str) -> None:
    process = fork(ingest_and_die, lake.uri, path, before)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def ingest_at_once(uri: str, path: Path, ready: Barrier) -> None:
    """Ingest a file in this process; when its bars are judged it waits until those of the others are too."""
    append_at = Lake.append_at
    waiting = {"raw/bars"}

    def together(self: Lake, table: str, *arguments: object, **named: object) -> bool:
        if table in waiting:
            waiting.remove(table)
            ready.wait(60)
        return append_at(self, table, *arguments, **named)  # type: ignore[arg-type]

    Lake.append_at = together  # type: ignore[method-assign]
    ingest_file(Lake(uri), path)


def run_at_once(lake: Lake, *paths: Path) -> None:
    ready = FORKED.Barrier(len(paths))
    processes = [fork(ingest_at_once, lake.uri, path, ready) for path in paths]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(paths)


def written(bars: pd.DataFrame, path: Path) -> Path:
    bars.to_csv(path, index=False)
    return path


def spoilt_walk() -> pd.DataFrame:
    """A walk with a row to reject and a bar to flag."""
    bars = walk()
    bars.loc[3, "close"] = -1.0
    bars.loc[30:, PRICES] /= 2
    return bars


def current(lake: Lake) -> pd.DataFrame:
    """What stg_bars takes for true: of each key the row ingested last, of two at once that of the greater batch id."""
    bars = lake.read("raw/bars").to_pandas().sort_values(["ts", "ingested_at", "batch_id"])
    return bars.drop_duplicates(["symbol", "interval", "ts", "source"], keep="last")


@pytest.mark.parametrize("before", WRITES)
def test_killed_between_two_writes_and_run_again_it_is_as_if_nothing_had_happened(
    lake: Lake, tmp_path: Path, before: str
) -> None:
    path = written(spoilt_walk(), tmp_path / "AAPL.csv")
    ingest_until_killed(lake, path, before)
    assert [lake.row_count(table) for table in WRITES[WRITES.index(before) :]] == [0] * (5 - WRITES.index(before))
    ingest_file(lake, path)
    assert [lake.row_count(table) for table in WRITES] == [59, 1, 1, 1, 1]
    assert unbalanced_batches(lake) == []


@pytest.mark.parametrize("before", WRITES[1:4])
def test_a_killed_batch_that_never_comes_again_is_closed_with_what_it_has_left(
    lake: Lake, tmp_path: Path, before: str
) -> None:
    bars = spoilt_walk()
    path = written(bars[:50], tmp_path / "AAPL.csv")
    ingest_until_killed(lake, path, before)
    ingest(lake, bars, "file", "a longer one instead")
    assert len(unbalanced_batches(lake)) == 1
    (closed,) = close_interrupted_batches(lake)
    assert (closed.accepted, closed.unchanged, closed.rejected) == (49, 0, lake.row_count("raw/rejects") - 1)
    assert closed.origin == ("AAPL.csv" if closed.rejected else "interrupted")
    assert unbalanced_batches(lake) == []
    assert close_interrupted_batches(lake) == []
    assert ingest_file(lake, path).batch_id == closed.batch_id  # it does come again: its own entry replaces that
    assert [lake.row_count(table) for table in WRITES] == [59, 2, 1, 2, 1]
    assert lake.read("raw/batches")["payload_hash"].null_count == 0
    assert unbalanced_batches(lake) == []


def test_a_batch_that_was_closed_while_it_was_ingested_ends_with_its_own_entry(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_at = Lake.append_at

    def close_too_early(self: Lake, table: str, *arguments: object, **named: object) -> bool:
        done = append_at(self, table, *arguments, **named)  # type: ignore[arg-type]
        if table == "raw/bars":
            assert len(close_interrupted_batches(self)) == 1
        return done

    monkeypatch.setattr(Lake, "append_at", close_too_early)
    bars = walk()
    bars.loc[3, "close"] = -1.0
    assert ingest(lake, bars, "skfolio", "test").rejected == 1
    assert lake.read("raw/batches", ["received", "origin"]).to_pylist() == [{"received": 60, "origin": "test"}]
    assert unbalanced_batches(lake) == []


def test_what_a_killed_batch_has_appended_stays_its_own_when_a_correction_comes_before_the_rerun(
    lake: Lake, tmp_path: Path
) -> None:
    bars = walk()
    path = written(bars, tmp_path / "AAPL.csv")
    fork(ingest_and_die, lake.uri, path, "raw/batches").join(60)
    corrected = bars.assign(close=bars["close"] * 1.0001)
    assert ingest(lake, corrected, "file", "correction").accepted == 60
    assert ingest_file(lake, path).accepted == 60
    assert current(lake)["close"].tolist() == corrected["close"].tolist()
    assert unbalanced_batches(lake) == []


def test_the_same_file_ingested_twice_at_once_lands_once(lake: Lake, tmp_path: Path) -> None:
    create_raw_tables(lake)
    path = written(spoilt_walk(), tmp_path / "AAPL.csv")
    run_at_once(lake, path, path)
    assert [lake.row_count(table) for table in WRITES] == [59, 1, 1, 1, 1]
    assert unbalanced_batches(lake) == []


def test_files_that_share_bars_ingested_at_once_all_land_and_no_bar_twice(lake: Lake, tmp_path: Path) -> None:
    bars = walk()
    other = bars[20:].assign(close=bars["close"].where(bars.index != 30, bars["close"] * 1.0005))  # one correction
    paths = [written(bars[:40], tmp_path / "AAPL.csv"), written(other, tmp_path / "AAPL_later.csv")]
    run_at_once(lake, *paths)
    assert lake.row_count("raw/bars") == 61
    assert lake.read("raw/batches").to_pandas()[["accepted", "unchanged"]].sum().tolist() == [61, 19]
    assert len(current(lake)) == 60
    assert unbalanced_batches(lake) == []
