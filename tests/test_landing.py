"""The landing folder: what arrives is ingested once and moved, what cannot be read is kept."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pytest

from lake.ingest import unbalanced_batches
from lake.landing import LandedFile, Landing
from lake.settings import Settings
from lake.store import Lake


def drop(settings: Settings, name: str, text: str, age: float = 10.0) -> Path:
    path = Path(settings.landing_uri) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def test_a_file_is_ingested_and_moved(settings: Settings, lake: Lake) -> None:
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n2022-01-04,x\n")
    (batch,) = Landing(settings).ingest(lake)
    assert (batch.accepted, batch.rejected) == (1, 1)
    assert Landing(settings).waiting() == []
    moved = Path(settings.landing_uri) / "processed" / f"{batch.batch_id}-NEWCO.csv"
    assert moved.read_text().startswith("date,close")


def test_a_file_that_is_still_being_written_waits(settings: Settings) -> None:
    path = drop(settings, "NEWCO.csv", "date,cl", age=0.0)
    assert Landing(settings).waiting() == []
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n")
    assert [file.name for file in Landing(settings).waiting()] == [path.name]


def test_other_files_are_left_alone(settings: Settings) -> None:
    for name in ("notes.txt", ".hidden.csv", "folder/inner.csv"):
        drop(settings, name, "date,close\n2022-01-03,5\n")
    assert Landing(settings).waiting() == []


def test_a_changed_file_has_another_token(settings: Settings) -> None:
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n")
    before = Landing(settings).waiting()
    assert Landing(settings).waiting() == before
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,6\n", age=20)
    assert Landing(settings).waiting() != before


@pytest.mark.parametrize("text", ["", "when,price\n1,2\n", "\0\0"])
def test_a_file_that_cannot_be_read_is_kept_and_told(settings: Settings, lake: Lake, text: str) -> None:
    drop(settings, "bad.csv", text)
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n")
    results = Landing(settings).ingest(lake)
    assert sorted((r.accepted, r.rejected) for r in results) == [(0, 1), (1, 0)]
    (reject,) = lake.read("raw/rejects").to_pylist()
    assert reject["reason"].startswith("bad.csv: ")
    assert reject["original"] == text
    assert [path.read_text() for path in (Path(settings.landing_uri) / "failed").iterdir()] == [text]
    assert unbalanced_batches(lake) == []


def test_a_file_name_that_is_no_text_stops_nobody(settings: Settings, lake: Lake) -> None:
    drop(settings, os.fsdecode(b"NEW\xffCO.csv"), "date,close\n2022-01-03,5\n")
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n")
    assert sorted(batch.accepted for batch in Landing(settings).ingest(lake)) == [0, 1]
    assert "NEW\\xffCO.csv" in lake.read("raw/rejects")["origin"].to_pylist()


class Replaces(Lake):
    """A lake that, while it takes a file in, sees the file replaced by one as long, of the same age."""

    def __init__(self, lake: Lake, replace: Callable[[], object]) -> None:
        super().__init__(lake.uri, lake.storage_options)
        self._replace = replace

    def append_new(self, table: str, data: pa.Table) -> int:
        new = super().append_new(table, data)
        if table == "raw/readings":
            self._replace()
        return new


def test_a_file_that_is_replaced_while_it_is_ingested_is_ingested_again(settings: Settings, lake: Lake) -> None:
    landed = drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n")
    then = landed.stat().st_mtime_ns

    def replace() -> None:
        new = drop(settings, "new.tmp", "date,close\n2022-01-04,5\n")
        os.utime(new, ns=(then, then))
        new.rename(landed)

    (first,) = Landing(settings).ingest(Replaces(lake, replace))
    (second,) = Landing(settings).ingest(lake)
    assert (first.accepted, second.accepted) == (1, 1)
    assert lake.row_count("raw/bars") == 2
    (moved,) = (Path(settings.landing_uri) / "processed").iterdir()
    assert moved.name.startswith(second.batch_id)


def test_a_long_name_in_another_script_is_no_obstacle(settings: Settings, lake: Lake) -> None:
    drop(settings, f"{'価' * 80}.csv", "date,symbol,close\n2022-01-03,NEWCO,5\n")
    (batch,) = Landing(settings).ingest(lake)
    assert batch.accepted == 1
    (moved,) = (Path(settings.landing_uri) / "processed").iterdir()
    assert moved.name.endswith("価価.csv")


def test_a_file_that_the_disk_refuses_stops_no_other(settings: Settings, lake: Lake) -> None:
    refused = Path(settings.landing_uri) / "AAA.csv"
    drop(settings, "AAA.csv", "")
    refused.unlink()
    refused.mkdir()
    drop(settings, "NEWCO.csv", "date,close\n2022-01-03,5\n")

    class Finds(Landing):
        def waiting(self) -> list[LandedFile]:
            (found,) = super().waiting()
            return [LandedFile(refused.name, found.file), found]  # a file that became a folder

    with pytest.raises(IsADirectoryError):
        Finds(settings).ingest(lake)
    assert lake.row_count("raw/bars") == 1


@pytest.mark.parametrize("name", ["NEWCO.csv.gz", "NEWCO.zip", "NEWCO.tsv", "NEWCO.CSV"])
def test_other_suffixes_are_waiting_too(settings: Settings, name: str) -> None:
    assert [file.name for file in Landing(settings).waiting()] == []
    path = drop(settings, name, "x")
    assert [file.name for file in Landing(settings).waiting()] == [path.name]


def test_two_that_watch_the_folder_at_once_ingest_each_file_once(settings: Settings, lake: Lake) -> None:
    for number in range(3):
        drop(settings, f"NEW{number}.csv", "date,close\n2022-01-03,5\n")
    both = Barrier(2)

    class Together(Landing):
        def waiting(self) -> list[LandedFile]:
            found = super().waiting()
            both.wait(30)
            return found

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: Together(settings).ingest(lake), range(2)))
    assert sum(batch.accepted for batches in results for batch in batches) == 3
    assert lake.row_count("raw/bars") == 3
    assert unbalanced_batches(lake) == []
    assert len(list((Path(settings.landing_uri) / "processed").iterdir())) == 3
