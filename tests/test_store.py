"""The store: Delta tables by name, the same on a local disk and on S3."""

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lake.duck import connect
from lake.settings import Settings
from lake.store import Lake
from lake.tables import TABLES, field_description
from tests.s3_kit import S3Server


def instruments(*symbols: str, source: str = "skfolio") -> pa.Table:
    return pa.table(
        {
            "symbol": list(symbols),
            "name": list(symbols),
            "asset_class": ["equity"] * len(symbols),
            "sector": pa.nulls(len(symbols)),
            "currency": ["USD"] * len(symbols),
            "calendar": ["XNYS"] * len(symbols),
            "fallbacks": [""] * len(symbols),
            "ends_at": pa.nulls(len(symbols)),
            "source": [source] * len(symbols),
        }
    )


@pytest.fixture(params=["local", "s3"])
def any_lake(request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    if request.param == "local":
        yield Lake.from_settings(settings)
        return
    server = S3Server()
    bucket = f"market-{uuid.uuid4()}"  # moto keeps its buckets as long as the process lives
    server.client().create_bucket(Bucket=bucket)
    for name, value in server.variables(bucket).items():
        monkeypatch.setenv(name, value)
    yield Lake.from_settings(Settings())
    server.stop()


def test_create_append_replace_read_and_version(any_lake: Lake) -> None:
    assert any_lake.version("raw/instruments") is None
    any_lake.create("raw/instruments")
    any_lake.create("raw/instruments")  # nothing happens the second time
    assert any_lake.version("raw/instruments") == 0

    assert any_lake.append("raw/instruments", instruments("AAPL", "MSFT")) == 1
    assert any_lake.replace("raw/instruments", instruments("AAPL", source="file"), "symbol = 'AAPL'") == 2

    now = {row["symbol"]: row["source"] for row in any_lake.read("raw/instruments").to_pylist()}
    before = {row["symbol"]: row["source"] for row in any_lake.read("raw/instruments", version=1).to_pylist()}
    assert now == {"AAPL": "file", "MSFT": "skfolio"}
    assert before == {"AAPL": "skfolio", "MSFT": "skfolio"}
    only = any_lake.read("raw/instruments", ["source"], pc.field("symbol") == "AAPL")
    assert only.to_pydict() == {"source": ["file"]}
    assert any_lake.row_count("raw/instruments") == 2
    assert any_lake.row_count("raw/instruments", version=0) == 0
    assert any_lake.tables() == ["raw/instruments"]
    assert "calendar" in any_lake.columns("raw/instruments")


def test_rows_are_added_upon_the_version_that_they_were_compared_with_or_not_at_all(any_lake: Lake) -> None:
    any_lake.create("raw/instruments")
    assert any_lake.append_at("raw/instruments", instruments("AAPL"), 0)
    assert not any_lake.append_at("raw/instruments", instruments("AAPL"), 0)
    assert any_lake.append_new("raw/instruments", instruments("AAPL", "MSFT")) == 1
    assert any_lake.append_new("raw/instruments", instruments("AAPL", "MSFT")) == 0
    assert sorted(any_lake.read("raw/instruments")["symbol"].to_pylist()) == ["AAPL", "MSFT"]


def test_duckdb_sees_every_table_as_a_view_and_can_pin_a_version(any_lake: Lake) -> None:
    any_lake.append("raw/instruments", instruments("AAPL"))
    any_lake.append("raw/instruments", instruments("MSFT"))
    with connect(any_lake) as newest, connect(any_lake, {"raw/instruments": 0}) as pinned:
        count = "select count(*) from raw.instruments"
        assert newest.sql(count).fetchone() == (2,)
        assert pinned.sql(count).fetchone() == (1,)


def test_a_slice_refuses_rows_outside_it_and_stays_as_it_was(lake: Lake) -> None:
    lake.append("raw/instruments", instruments("AAPL", "MSFT"))
    with pytest.raises(Exception, match=r"(?i)invariant|predicate|check"):
        lake.replace("raw/instruments", instruments("JPM"), "symbol = 'AAPL'")
    assert lake.version("raw/instruments") == 0
    assert sorted(lake.read("raw/instruments")["symbol"].to_pylist()) == ["AAPL", "MSFT"]


def test_two_writers_at_once_both_land(lake: Lake) -> None:
    lake.create("raw/instruments")
    threads = [
        threading.Thread(target=lake.replace, args=("raw/instruments", instruments(symbol), f"symbol = '{symbol}'"))
        for symbol in ("A", "B", "C", "D", "E", "F")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lake.read("raw/instruments")["symbol"].to_pylist()) == ["A", "B", "C", "D", "E", "F"]


def test_many_that_create_a_table_and_add_the_same_rows_at_once_add_them_once(any_lake: Lake) -> None:
    added: list[int] = []

    def add() -> None:
        any_lake.create("raw/instruments")
        added.append(any_lake.append_new("raw/instruments", instruments("AAPL", "MSFT")))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [0, 0, 0, 2]
    assert any_lake.row_count("raw/instruments") == 2


def test_a_missing_column_and_a_null_key_are_refused(lake: Lake) -> None:
    with pytest.raises(KeyError, match="calendar"):
        lake.append("raw/instruments", instruments("AAPL").drop_columns(["calendar"]))
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        lake.append("raw/instruments", instruments("AAPL").set_column(0, "symbol", pa.array([None], pa.string())))
    assert lake.version("raw/instruments") is None


def test_every_declared_column_says_what_it_means() -> None:
    silent = [
        f"{name}.{field.name}" for name, spec in TABLES.items() for field in spec.schema if not field_description(field)
    ]
    assert silent == []
    assert all(set(spec.key) <= set(spec.schema.names) for spec in TABLES.values())


def test_time_stamps_survive_as_utc(lake: Lake) -> None:
    at = datetime(2022, 12, 28, tzinfo=UTC)
    row = {"batch_id": "b", "source": "file", "origin": "f", "raw_table": "raw/bars", "ingested_at": at}
    counts = dict.fromkeys(("received", "accepted", "unchanged", "rejected", "flagged"), 0)
    lake.append("raw/batches", pa.Table.from_pylist([row | counts], TABLES["raw/batches"].schema))
    assert lake.read("raw/batches")["ingested_at"].to_pylist() == [at]
    with connect(lake) as connection:
        assert connection.sql("select ingested_at::varchar from raw.batches").fetchone() == ("2022-12-28 00:00:00+00",)
