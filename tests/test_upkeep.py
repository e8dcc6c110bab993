"""Upkeep: tables become small and quick, and no version that a model or a forecast names is ever lost."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from assets_pkg.assets.upkeep import compaction, vacuum
from assets_pkg.resources.lakehouse import LakehouseResource
from lake import upkeep
from lake.duck import connect
from lake.inventory import take_inventory
from lake.settings import Settings, get_settings
from lake.store import Lake
from ml.pins import pinned_versions
from ml.registry import Registry
from tests.graph_kit import Built
from tests.s3_kit import S3Server
from tests.serving_kit import forecast, make_settings, write
from tests.test_store import instruments

TABLE = "raw/instruments"


@pytest.fixture(params=["local", "s3"])
def anywhere(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of an empty lake on a disk, and of one on S3."""
    if request.param == "local":
        yield settings
        return
    server, bucket = S3Server(), f"lake-{uuid.uuid4()}"
    server.client().create_bucket(Bucket=bucket)
    for name, value in server.variables(bucket).items():
        monkeypatch.setenv(name, value)
    yield get_settings()
    server.stop()


def fill(lake: Lake, commits: int) -> None:
    """Version v of the table holds the symbols S0 to Sv."""
    for number in range(commits):
        lake.append(TABLE, instruments(f"S{number}"))


def symbols(lake: Lake, version: int | None = None) -> list[str]:
    """By delta-rs and Arrow, and the same by DuckDB."""
    found = sorted(lake.read(TABLE, ["symbol"], version=version)["symbol"].to_pylist())
    with connect(lake, {} if version is None else {TABLE: version}) as duck:
        assert duck.sql("select symbol from raw.instruments order by 1").fetchall() == [(symbol,) for symbol in found]
    return found


def expected(version: int) -> list[str]:
    return sorted(f"S{number}" for number in range(version + 1))


def test_small_files_become_one_and_useless_ones_go_but_not_those_of_a_pinned_version(anywhere: Settings) -> None:
    lake = Lake.from_settings(anywhere)
    fill(lake, 12)
    schema = lake.read(TABLE).schema
    compacted = upkeep.compact(lake, TABLE)
    assert (compacted.outcome, compacted.files_before, compacted.files_after) == (upkeep.DONE, 12, 1)
    lake.replace(TABLE, instruments("NEW"))
    assert take_inventory(anywhere, TABLE).readable == tuple(range(14))

    done = upkeep.vacuum(anywhere, TABLE, {4, 99}, retention_hours=0)
    assert (done.outcome, done.files_deleted) == (upkeep.DONE, 12 - 5 + 1)
    assert (done.versions_pinned, done.pins_lost) == (1, 1)
    inventory = take_inventory(anywhere, TABLE)
    assert inventory.readable == (0, 1, 2, 3, 4, 13, 14, 15)
    assert (inventory.rows, inventory.files, inventory.newest) == (1, 1, None)
    assert symbols(lake) == ["NEW"]
    assert symbols(lake, 4) == expected(4)
    assert lake.read(TABLE).schema == schema
    with pytest.raises(FileNotFoundError):
        lake.read(TABLE, version=5)

    again = upkeep.vacuum(anywhere, TABLE, {4, 99}, retention_hours=0)
    assert (again.outcome, again.version, again.bytes_stored) == (upkeep.NOTHING_TO_DO, 15, done.bytes_stored)


def test_a_few_small_files_are_left_alone(lake: Lake) -> None:
    fill(lake, 8)
    done = upkeep.compact(lake, TABLE)
    assert (done.outcome, done.version, done.files_after) == (upkeep.NOTHING_TO_DO, 7, 8)


def test_what_was_replaced_lately_stays_and_what_a_killed_writer_left_goes(settings: Settings, lake: Lake) -> None:
    fill(lake, 1)
    lake.replace(TABLE, instruments("NEW"))
    folder = Path(lake.path(TABLE))
    old, young = folder / "part-old.parquet", folder / "part-young.parquet"
    for leftover in (old, young):
        leftover.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    done = upkeep.vacuum(settings, TABLE, set(), retention_hours=1)
    assert (done.files_deleted, done.bytes_deleted) == (1, 4)
    assert not old.exists()
    assert young.exists()
    assert symbols(lake, 0) == ["S0"]


def test_a_version_is_still_readable_two_months_and_a_checkpoint_later(settings: Settings, lake: Lake) -> None:
    fill(lake, 5)
    DeltaTable(lake.path(TABLE)).create_checkpoint()
    for commit in Path(lake.path(TABLE), "_delta_log").iterdir():
        os.utime(commit, (time.time() - 60 * 86400,) * 2)
    for _ in range(
        96
    ):  # a checkpoint comes every 100 commits; by default Delta then forgets what is older than 30 days
        lake.replace(TABLE, instruments("NEW"))
    assert len(list(Path(lake.path(TABLE), "_delta_log").glob("*.checkpoint.parquet"))) == 2
    assert symbols(lake, 3) == expected(3)
    upkeep.vacuum(settings, TABLE, {3}, retention_hours=0)
    assert symbols(lake, 3) == expected(3)
    assert symbols(lake) == ["NEW"]


def test_a_raw_table_whose_rows_have_no_times_keeps_all_its_versions(settings: Settings, lake: Lake) -> None:
    for symbol in ("IBM", "AAPL"):
        lake.replace(TABLE, instruments(symbol))
    lake.create("raw/bars")
    assert upkeep.remembering_versions(settings, "raw/bars") == set()
    upkeep.vacuum(settings, TABLE, upkeep.remembering_versions(settings, TABLE), retention_hours=0)
    assert [symbols(lake, version) for version in (0, 1)] == [["IBM"], ["AAPL"]]


def test_readers_and_writers_notice_nothing(settings: Settings, lake: Lake) -> None:
    """While compaction and vacuum work without a pause, every read is whole and every write lands."""
    groups = ("A", "B", "C")
    for number in range(12):
        lake.append(TABLE, instruments(*(f"{group}{number}" for group in groups), source="file"))
    pinned = symbols(lake, 2)
    finished, problems, counts = threading.Event(), [], {"reads": 0, "writes": 0, "done": 0}

    def until_finished(work: Callable[[], None]) -> threading.Thread:
        def loop() -> None:
            while not finished.is_set():
                try:
                    work()
                except Exception as error:
                    problems.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def read() -> None:
        found = lake.read(TABLE)["symbol"].to_pylist()
        assert len(found) == len(set(found)) >= 36
        assert symbols(lake, 2) == pinned
        counts["reads"] += 1

    def write() -> None:
        lake.append(TABLE, instruments(f"N{counts['writes']}"))
        lake.replace(TABLE, instruments("A0", source=f"n{counts['writes']}"), "symbol = 'A0'")
        counts["writes"] += 1

    def keep() -> None:
        outcome = upkeep.compact(lake, TABLE).outcome
        assert outcome in {upkeep.DONE, upkeep.NOTHING_TO_DO, upkeep.SKIPPED}
        counts["done"] += outcome == upkeep.DONE
        upkeep.vacuum(settings, TABLE, {2}, retention_hours=1)

    threads = [until_finished(work) for work in (read, write, keep)]
    time.sleep(4)
    finished.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert min(counts.values()) > 0, counts
    now = lake.read(TABLE).to_pylist()
    assert len(now) == 36 + counts["writes"]
    assert {row["source"] for row in now if row["symbol"] == "A0"} == {f"n{counts['writes'] - 1}"}


def test_without_a_registry_nothing_is_pinned_and_none_is_made(settings: Settings, lake: Lake) -> None:
    assert pinned_versions(lake, Registry(settings)) == {}
    assert not settings.home.exists()


def test_pins_are_what_models_and_forecasts_were_made_from(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = make_settings(tmp_path, tmp_path_factory)
    lake, registry = Lake.from_settings(settings), Registry(settings)
    assert pinned_versions(lake, registry) == {"market/features": {12}}
    tags = {"lake_versions": '{"market/features": 3, "raw/macro": 0}'}
    trained = registry.client.create_model_version("return_5d", source="models/x", tags=tags)
    rows = [forecast("AAPL", "return_5d", lake_versions=f'{{"market/features": {version}}}') for version in (7, 7, 8)]
    write(settings, rows)
    assert pinned_versions(lake, registry) == {"market/features": {3, 7, 8, 12}, "raw/macro": {0}}
    registry.client.delete_model_version("return_5d", trained.version)
    assert pinned_versions(lake, registry) == {"market/features": {7, 8, 12}}


@pytest.mark.slow
def test_the_real_tables_keep_what_models_and_forecasts_were_made_from(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = built.copy(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.settings.mlflow_tracking_uri)
    settings, lake = home.settings, home.lake
    for table in lake.tables():
        configuration = DeltaTable(lake.path(table)).metadata().configuration
        assert configuration == {"delta.enableExpiredLogCleanup": "false"}, table
    pins = pinned_versions(lake, Registry(settings))
    assert pins == {"market/features": {0}, "models/garch": {1}}
    features = ordered(lake.read("market/features"))
    last_year = features.filter(pc.equal(features["year"], 2022))
    for days in (1, 2):  # two new sessions: version 0 is no longer the newest
        lake.append("market/features", later(last_year.slice(0, 1), timedelta(days=400 + days)))
    before = {table: ordered(lake.read(table)) for table in lake.tables() if not table.startswith("upkeep/")}
    monkeypatch.setattr(upkeep, "_WORTH_SAVING", 1)

    result = materialize(lake)
    assert result.success
    rows = lake.read("upkeep/compaction").to_pylist()
    last = {row["table"]: row for row in rows if row["dagster_run_id"] == result.run_id}
    assert set(last) == set(before) | {"upkeep/compaction", "upkeep/vacuum"}
    assert last["market/features"]["outcome"] == upkeep.DONE
    for table in before:
        upkeep.vacuum(settings, table, pins.get(table, set()), retention_hours=0)
    assert take_inventory(settings, "market/features").readable[0] == 0
    for table, rows_before in before.items():
        assert ordered(lake.read(table)).equals(rows_before), table
    assert ordered(lake.read("market/features", version=0)).equals(features)
    with connect(lake, {"market/features": 0}) as duck:
        assert duck.sql("select count(*), sum(close) from market.features").fetchone() == (
            features.num_rows,
            pytest.approx(pc.sum(features["close"]).as_py()),
        )
    for file in Path(lake.path("market/features")).glob("year=2021/*.parquet"):
        file.unlink()
    (evaluation,) = materialize(lake).get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["lost"].value == {"market/features": 1}


def materialize(lake: Lake) -> dg.ExecuteInProcessResult:
    return dg.materialize([compaction, vacuum], resources={"lakehouse": LakehouseResource()})


def later(rows: pa.Table, by: timedelta) -> pa.Table:
    """The same rows, some time later in the same partition."""
    moved = pc.add(rows["ts"], pa.scalar(by, pa.duration("us")))
    return rows.set_column(rows.column_names.index("ts"), rows.schema.field("ts"), moved)


def ordered(table: pa.Table) -> pa.Table:
    keys: list[Any] = [(name, "ascending") for name in table.column_names if not pa.types.is_nested(table[name].type)]
    return table.sort_by(keys).combine_chunks()
