"""Malformed files: each does what the corpus says, nothing is lost, and no bytes whatever break ingestion."""

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lake.ingest import create_raw_tables, unbalanced_batches
from lake.landing import ingest_content
from lake.sources.files import FileBars, UnreadableFileError, read_bars, read_cells
from lake.sources.files.mapping import find_mapping
from lake.store import Lake
from tests.malformed.cases import CASES, GOOD, PARQUET, Case


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake for tests that tell their batches apart."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    create_raw_tables(lake)
    return lake


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert len(CASES) >= 60
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_malformed_file_does_what_the_corpus_says(lake: Lake, case: Case) -> None:
    def ingest() -> tuple[int, int, int]:
        own = {f"{Path(case.filename).stem}.mapping.yaml": case.mapping} if case.mapping else {}
        result = ingest_content(lake, case.content, case.filename, find_mapping(case.filename, own))
        assert result.received == result.accepted + result.unchanged + result.rejected
        return result.accepted, result.unchanged, result.rejected

    if case.accepted is None:
        with pytest.raises(UnreadableFileError) as refusal:
            ingest()
        assert str(refusal.value).startswith(case.filename[:-3])
        assert case.words in str(refusal.value)
        assert lake.tables() == []
        return
    assert ingest() == (case.accepted, 0, len(case.rules))
    stored = lake.read("raw/bars").sort_by("ts")
    assert stored["close"].to_pylist() == list(case.closes or stored["close"].to_pylist())
    rejects = lake.read("raw/rejects").sort_by("row_number").to_pylist()
    assert [reject["rule"] for reject in rejects] == list(case.rules)
    assert not case.words or any(case.words in reject["reason"] for reject in rejects)
    assert all(json.loads(reject["original"]) for reject in rejects)
    assert unbalanced_batches(lake) == []
    assert sum(ingest()) == case.accepted + len(case.rules)
    assert (lake.row_count("raw/bars"), lake.row_count("raw/rejects")) == (case.accepted, len(case.rules))


def test_the_text_of_a_rejected_row_is_kept_as_it_was(lake: Lake) -> None:
    lines = ('2024-01-02,"1,5', "2024-01-03,a,b,c", "2024-01-04,=1+1")
    ingest_content(lake, "\n".join(("date,close", *lines)).encode(), "NEWCO.csv")
    rejects = lake.read("raw/rejects").sort_by("row_number")
    assert [json.loads(text) for text in rejects["original"].to_pylist()] == [
        lines[0],
        lines[1],
        {"date": "2024-01-04", "close": "=1+1"},
    ]


_CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["2024-01-02", "03/04/2024", "1704153600000", "10", "-1", "1e400", "1,234", "", '"', "nan", "=A1", "\0"]
    ),
)
_HEADERS = st.sampled_from(
    [
        "date,close",
        "Date;Open;Close",
        "date,time,close,volume",
        "<DATE>\t<CLOSE>",
        "symbol,ts,close,currency",
        "\ufeffdate,close",
    ]
)


@st.composite
def _texts(draw: st.DrawFn) -> bytes:
    header = draw(_HEADERS)
    separator = next(mark for mark in "\t;," if mark in header)
    rows = draw(st.lists(st.lists(_CELLS, min_size=1, max_size=5), min_size=1, max_size=6))
    text = "\n".join([header, *(separator.join(row) for row in rows)])
    return text.encode(draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])), errors="replace")


@st.composite
def _damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    content = bytearray(whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole)
    for position in draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[position] = draw(st.integers(0, 255))
    return bytes(content)


def read_or_refused(content: bytes, name: str) -> FileBars | None:
    refusal = ""
    try:
        return read_bars(*read_cells(io.BytesIO(content), name))
    except UnreadableFileError as error:
        refusal = str(error)
    assert refusal.startswith(f"{name}: ")
    return None


@hypothesis_settings(max_examples=100, deadline=None)
@given(content=st.one_of(_texts(), st.binary(max_size=200), _damaged(GOOD.encode())))
@example(content=b"date,close\n,")
def test_any_text_is_read_or_refused_with_words(content: bytes) -> None:
    read = read_or_refused(content, "NEWCO.csv")
    assert read is None or len(read.bars) == len(read.unreadable) == read.cells.table.num_rows > 0


@hypothesis_settings(max_examples=100, deadline=None)
@given(content=_damaged(PARQUET))
def test_any_parquet_is_read_or_refused_with_words(content: bytes) -> None:
    read = read_or_refused(content, "NEWCO.parquet")
    assert read is None or len(read.bars) == len(read.unreadable) == read.cells.table.num_rows > 0


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=_texts())
def test_any_text_is_ingested_once(shared: Lake, content: bytes) -> None:
    try:
        first = ingest_content(shared, content, "NEWCO.csv")
    except UnreadableFileError:
        return
    rows = shared.row_count("raw/bars"), shared.row_count("raw/rejects"), shared.row_count("raw/batches")
    again = ingest_content(shared, content, "NEWCO.csv")
    assert (again.received, again.accepted, again.batch_id) == (first.received, 0, first.batch_id)
    assert rows == (shared.row_count("raw/bars"), shared.row_count("raw/rejects"), shared.row_count("raw/batches"))
    assert unbalanced_batches(shared) == []
    kept = shared.read("raw/rejects", ["row_number"], pc.field("batch_id") == first.batch_id)
    assert first.rejected in (0, kept.num_rows)
