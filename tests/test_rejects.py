"""Rejected rows: listed, exported, fixed by hand and replayed, each once, with a record of what resolved them."""

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from assets_pkg.cli import app
from lake.ingest import BatchResult, ingest, unbalanced_batches, write_instruments
from lake.landing import ingest_content
from lake.rejects import RejectsError, export_rejects, list_rejects, replay_batch, replay_file
from lake.sources.base import rows_frame
from lake.sources.files.mapping import FileMapping
from lake.store import Lake
from tests.bars import walk

TEXT = (
    "Datum;Schlusskurs;Volumen\n13/01/2024;1.100,5;100\n04/05/2024;1.O01,5;100\n05/05/2024;1.105;=2+2\n06/05/2024;9\n"
)


@pytest.fixture
def batch(lake: Lake) -> BatchResult:
    """A German file of four rows, of which one is good."""
    result = ingest_content(lake, TEXT.encode(), "NEWCO.csv", FileMapping(currency="EUR"))
    assert (result.accepted, result.rejected) == (1, 3)
    return result


def edit(path: Path, changes: dict[int, dict[str, str]]) -> None:
    """Change cells of an exported file by reject row, as a person would with an editor."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update(changes.get(int(row["reject_row"]), {}))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_rejects_are_listed_by_batch_source_and_rule(lake: Lake, batch: BatchResult) -> None:
    other = walk()
    other.loc[3, "close"] = -1.0
    ingest(lake, other, "skfolio", "test")
    assert len(list_rejects(lake)) == 4
    assert set(list_rejects(lake, batch=batch.batch_id[:6])["row_number"]) == {2, 3, 4}
    assert list_rejects(lake, source="skfolio")["rule"].tolist() == ["price_positive"]
    assert len(list_rejects(lake, rule="unreadable")) == 3


def test_fixed_rows_are_ingested_as_the_file_was_read(lake: Lake, batch: BatchResult, tmp_path: Path) -> None:
    path = tmp_path / "fixed.csv"
    assert export_rejects(lake, batch.batch_id, path) == 3
    edit(path, {2: {"Schlusskurs": "1.101,5"}, 3: {"Volumen": "1.000"}})
    replay = replay_file(lake, path)
    assert (replay.batch.accepted, replay.batch.rejected, replay.resolved) == (2, 0, 2)
    bars = lake.read("raw/bars").to_pandas().sort_values("ts")
    assert bars["ts"].dt.strftime("%d.%m.").tolist() == ["13.01.", "04.05.", "05.05."]
    assert sorted(bars["close"]) == [1100.5, 1101.5, 1105.0]
    assert set(bars["currency"]) == {"EUR"}
    assert set(bars["symbol"]) == {"NEWCO"}
    assert list_rejects(lake)["row_number"].tolist() == [4]
    resolved = list_rejects(lake, resolved=True).set_index("row_number")["resolved_by"]
    assert resolved[2] == resolved[3] == replay.batch.batch_id
    assert replay.batch.origin == f"replay of {batch.batch_id}: fixed.csv"
    assert unbalanced_batches(lake) == []


def test_the_same_replay_again_adds_nothing(lake: Lake, batch: BatchResult, tmp_path: Path) -> None:
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    edit(path, {2: {"Schlusskurs": "1.101,5"}})
    replay_file(lake, path)
    tables = ("raw/bars", "raw/resolutions")
    before = [lake.row_count(table) for table in tables]
    edit(path, {3: {"Volumen": ""}})
    assert replay_file(lake, path).resolved == 1
    with pytest.raises(RejectsError, match="none of its rows is an open reject"):
        replay_file(lake, path)
    assert [lake.row_count(table) for table in tables] == [count + 1 for count in before]


def test_a_replay_that_died_before_its_record_is_completed(
    lake: Lake, batch: BatchResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    edit(path, {2: {"Schlusskurs": "1.101,5"}, 3: {"Volumen": ""}})
    append_new = Lake.append_new

    def die(self: Lake, table: str, data: object) -> int:
        if table == "raw/resolutions":
            raise KeyboardInterrupt
        return append_new(self, table, data)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append_new", die)
        with pytest.raises(KeyboardInterrupt):
            replay_file(lake, path)
    replay = replay_file(lake, path)
    assert (replay.batch.accepted, replay.batch.unchanged, replay.resolved) == (0, 2, 2)
    assert lake.row_count("raw/bars") == 3
    assert unbalanced_batches(lake) == []


def test_a_row_that_is_still_wrong_stays_open_and_is_listed_once(
    lake: Lake, batch: BatchResult, tmp_path: Path
) -> None:
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    replay = replay_file(lake, path)
    assert (replay.batch.rejected, replay.resolved) == (2, 0)
    assert list_rejects(lake)["row_number"].tolist() == [2, 3, 4]
    with pytest.raises(RejectsError, match=f"it is a replay, see batch {batch.batch_id}"):
        export_rejects(lake, replay.batch.batch_id, tmp_path / "again.csv")


def test_a_line_without_cells_is_filled_in_by_hand(lake: Lake, batch: BatchResult, tmp_path: Path) -> None:
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    row = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("reject_row").loc["4"]
    assert (row["reject_text"], row["Datum"]) == ("06/05/2024;9", "")
    edit(path, {4: {"Datum": "06/05/2024", "Schlusskurs": "1.111,5"}})
    assert replay_file(lake, path).resolved == 1
    assert 1111.5 in lake.read("raw/bars")["close"].to_pylist()


def test_a_formula_is_exported_as_text_and_comes_back_as_it_was(lake: Lake, batch: BatchResult, tmp_path: Path) -> None:
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    assert "'=2+2" in path.read_text()
    replay = replay_file(lake, path)
    again = lake.read("raw/rejects", filters=pc.field("batch_id") == replay.batch.batch_id).to_pylist()
    kept = [json.loads(reject["original"]) for reject in again]
    assert [row["Volumen"] for row in kept] == ["100", "=2+2"]


def test_rows_are_judged_anew_when_the_series_has_changed(lake: Lake) -> None:
    write_instruments(lake)
    ingest(lake, walk(start="2022-01-03"), "skfolio", "test")
    early = walk(start="2021-01-04", sessions=5).assign(symbol="AAPL")
    text = early.to_csv(index=False, columns=["symbol", "ts", "close"])
    refused = ingest_content(lake, text.encode(), "AAPL.csv")
    assert refused.rejected == 5
    with pytest.raises(RejectsError, match="no open rejects"):
        replay_batch(lake, "0000")
    assert replay_batch(lake, refused.batch_id).resolved == 0
    ingest(lake, walk(start="2020-12-01", sessions=40).assign(close=early["close"].mean()), "skfolio", "older")
    replay = replay_batch(lake, refused.batch_id)
    assert (replay.batch.source, replay.batch.accepted, replay.resolved) == ("file", 5, 5)
    with pytest.raises(RejectsError, match="no open rejects"):
        replay_batch(lake, refused.batch_id)


def test_an_earlier_duplicate_does_not_come_back_over_the_accepted_row(lake: Lake) -> None:
    twice = ingest_content(lake, b"date,close\n2024-01-02,10\n2024-01-02,11\n", "NEWCO.csv")
    with pytest.raises(RejectsError, match="duplicates"):
        replay_batch(lake, twice.batch_id)


def test_rejects_of_other_sources_are_replayed_too(lake: Lake, tmp_path: Path) -> None:
    bars = walk(symbol="NEWCO", sessions=5)
    bars.loc[3, "close"] = -1.0
    batch = ingest(lake, bars, "skfolio", "test")
    assert replay_batch(lake, batch.batch_id).batch.source == "skfolio"
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    edit(path, {4: {"close": str(bars["open"][3])}})
    replay = replay_file(lake, path)
    assert (replay.batch.source, replay.resolved) == ("file", 1)


FACT = {
    **{"symbol": "AAPL", "concept": "us-gaap/Assets", "unit": "USD", "period_start": None, "ts": "2023-09-30"},
    **{"value": 1.5, "fiscal_year": 2023, "fiscal_period": "FY", "form": None, "accession": "1"},
    "released_at": "2023-11-03",
}
BROKEN: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "raw/macro": (
        "bcrp",
        {"series": "PD04638PD", "ts": "2024-01-02", "value": None, "released_at": None},
        {"value": "3.7"},
    ),
    "raw/fundamentals": ("edgar", FACT, {"form": "10-K"}),
    "raw/news": (
        "news",
        {"symbol": "AAPL", "ts": "2024-01-02", "id": "1", "headline": None, "url": None},
        {"headline": "Up"},
    ),
}


@pytest.mark.parametrize("table", BROKEN)
def test_rejects_that_are_no_bars_come_in_too(lake: Lake, tmp_path: Path, table: str) -> None:
    source, row, fix = BROKEN[table]
    batch = ingest(lake, rows_frame([row], list(row), {"value"} & {*row}), source, "test", table=table)
    (reject,) = list_rejects(lake, batch=batch.batch_id).to_dict("records")
    assert (reject["raw_table"], reject["symbol"]) == (table, next(iter(row.values())))
    assert replay_batch(lake, batch.batch_id).batch.rejected == 1  # as it is, it is as wrong as before
    path = tmp_path / "fixed.csv"
    export_rejects(lake, batch.batch_id, path)
    edit(path, {1: {**fix, "ts": "02/01/2024"}})
    again = replay_file(lake, path)
    assert (again.batch.rejected, again.resolved) == (1, 0)
    reasons = lake.read("raw/rejects", ["reason"], pc.field("batch_id") == again.batch.batch_id)["reason"].to_pylist()
    assert reasons == ["ts '02/01/2024' cannot be read"]
    edit(path, {1: {"ts": row["ts"]}})
    assert replay_file(lake, path).resolved == 1
    (stored,) = lake.read(table).to_pylist()
    for name, value in (row | fix).items():
        found = stored[name]
        assert found == (pd.Timestamp(value, tz="UTC") if isinstance(found, datetime) else value and type(found)(value))
    assert stored["source"] == "file"
    assert unbalanced_batches(lake) == []


def test_files_that_are_no_export_are_refused(lake: Lake, batch: BatchResult, tmp_path: Path) -> None:
    path = tmp_path / "fixed.csv"
    path.write_text("date,close\n2024-01-02,10\n")
    with pytest.raises(RejectsError, match="not a file that `lakehouse rejects export` wrote"):
        replay_file(lake, path)
    export_rejects(lake, batch.batch_id, path)
    without = tmp_path / "without.csv"
    pd.read_csv(path, dtype=str).drop(columns="Schlusskurs").to_csv(without, index=False)
    with pytest.raises(RejectsError, match="column 'Schlusskurs' is missing; nothing was replayed"):
        replay_file(lake, without)
    path.write_text(path.read_text() + "one,two\n")
    with pytest.raises(RejectsError, match=r"2 cells where 8 are expected.*nothing was replayed"):
        replay_file(lake, path)


def test_the_command_lists_exports_and_replays(lake: Lake, batch: BatchResult, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["rejects", *arguments])
        return result.exit_code, result.output

    code, output = run("list", "--rule", "unreadable", "--rows", "2")
    assert (code, output.count("NEWCO.csv")) == (0, 2)
    assert "close '1.O01,5' cannot be read" in output
    assert "... and 1 more" in output
    path = tmp_path / "fixed.csv"
    assert run("export", batch.batch_id[:8], str(path))[0] == 0
    assert "is there already" in run("export", batch.batch_id, str(path))[1]
    edit(path, {2: {"Schlusskurs": "1.101,5"}, 3: {"Volumen": ""}})
    code, output = run("replay", str(path))
    assert (code, f"2 rejects of {batch.batch_id} are resolved" in output) == (0, True)
    assert run("replay", str(path))[0] == 1
    assert run("replay")[0] == 1
    assert "(resolved by" in run("list", "--all")[1]
    assert run("list", "--rule", "nothing")[1] == "No rejected rows.\n"
