"""Ingestion: nothing lost, nothing twice, every refused row kept with its reason."""

import io
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lake.ingest import BatchResult, ingest, ingest_source, unbalanced_batches, write_instruments
from lake.landing import ingest_content
from lake.quality import broken_rules
from lake.rejects import replay_batch
from lake.severities import Severities
from lake.sources import EMBEDDED
from lake.sources.base import rows_frame
from lake.sources.files import UnreadableFileError, read_bars, read_cells
from lake.sources.instruments import INSTRUMENTS
from lake.store import Lake
from tests.bars import PRICES, walk


def counts(result: BatchResult) -> tuple[int, int, int, int]:
    return result.received, result.accepted, result.unchanged, result.rejected


def csv(lake: Lake, name: str, *lines: str) -> BatchResult:
    return ingest_content(lake, "\n".join(lines).encode(), name)


def reasons(lake: Lake, batch: BatchResult) -> dict[int, str]:
    rows = lake.read("raw/rejects", filters=pc.field("batch_id") == batch.batch_id).to_pylist()
    return {row["row_number"]: row["rule"] for row in rows}


@pytest.fixture
def known(lake: Lake) -> Lake:
    """A lake that knows 60 sessions of AAPL from its preferred source, the last on 2022-03-25."""
    write_instruments(lake)
    ingest(lake, walk(), "skfolio", "test")
    return lake


def test_the_same_bars_again_add_nothing(lake: Lake) -> None:
    first = ingest(lake, walk(), "skfolio", "test")
    version = lake.version("raw/bars")
    again = ingest(lake, walk(), "skfolio", "test")
    assert counts(first) == (60, 60, 0, 0)
    assert counts(again) == (60, 0, 60, 0)
    assert lake.version("raw/bars") == version
    assert unbalanced_batches(lake) == []


def test_a_correction_is_a_new_row_and_the_old_one_stays(lake: Lake) -> None:
    bars = walk()
    ingest(lake, bars, "skfolio", "test")
    corrected = bars.assign(close=bars["close"].where(bars.index != 7, bars["close"] * 1.0005))
    assert counts(ingest(lake, corrected, "skfolio", "test")) == (60, 1, 59, 0)
    versions = lake.read("raw/bars", filters=pc.field("ts") == bars["ts"][7]).to_pandas().sort_values("ingested_at")
    assert versions["close"].tolist() == [bars["close"][7], corrected["close"][7]]
    # and back again: what was true before is true once more
    assert counts(ingest(lake, bars, "skfolio", "test")) == (60, 1, 59, 0)
    assert unbalanced_batches(lake) == []


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("close", None, "close_missing"),
        ("close", -1.0, "price_positive"),
        ("close", float("inf"), "price_finite"),
        ("high", 0.01, "high_not_below_low"),
        ("close", 1e6, "close_within_range"),
        ("open", 1e6, "open_within_range"),
        ("volume", -5.0, "volume_not_negative"),
        ("symbol", "../etc", "symbol_form"),
        ("interval", "5y", "interval_known"),
        ("ts", pd.Timestamp("2022-01-03 09:30", tz="UTC"), "ts_on_grid"),
        ("ts", pd.Timestamp("2200-01-03", tz="UTC"), "ts_in_future"),
        ("ts", pd.NaT, "ts_missing"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_rule_and_the_rest_is_accepted(
    lake: Lake, column: str, value: object, rule: str
) -> None:
    bars = walk()
    bars.loc[3, column] = value
    result = ingest(lake, bars, "skfolio", "test")
    assert counts(result) == (60, 59, 0, 1)
    assert reasons(lake, result) == {4: rule}
    kept = lake.read("raw/rejects").to_pylist()[0]
    assert '"currency":"USD"' in kept["original"]
    assert unbalanced_batches(lake) == []


def test_a_period_may_lie_ahead_but_not_the_day_of_its_release(lake: Lake) -> None:
    row = {"series": "FEDTARMD", "ts": "2200-01-01", "value": 2.9, "released_at": "2023-12-13"}
    rows = rows_frame([row, row | {"released_at": None}, row | {"released_at": "2200-01-02"}], tuple(row), ["value"])
    result = ingest(lake, rows, "fred", "test", table="raw/macro")
    assert counts(result) == (3, 2, 0, 1)
    assert reasons(lake, result) == {3: "released_at_in_future"}


def test_of_duplicates_in_a_batch_the_last_is_accepted(lake: Lake) -> None:
    bars = walk(sessions=2)
    twice = pd.concat([bars, bars.assign(volume=bars["volume"] + 1)], ignore_index=True)
    result = ingest(lake, twice, "skfolio", "test")
    assert counts(result) == (4, 2, 0, 2)
    assert reasons(lake, result) == {1: "duplicate_key", 2: "duplicate_key"}
    assert sorted(lake.read("raw/bars")["volume"].to_pylist()) == sorted((bars["volume"] + 1).tolist())


@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([0, 1, 2]), repeats=st.integers(1, 2))
def test_the_order_of_batches_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], repeats: int
) -> None:
    bars = walk(sessions=30)
    bars.loc[10:, PRICES] *= 0.5
    bars.loc[21:24, PRICES] = bars.loc[21, PRICES].to_numpy()
    parts = [bars[:12], bars[8:22], bars[20:]]
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for _ in range(repeats):
        for index in order:
            ingest(lake, parts[index], "skfolio", "test")
    stored = lake.read("raw/bars").to_pandas().sort_values("ts")
    assert stored["close"].tolist() == bars["close"].tolist()
    assert unbalanced_batches(lake) == []


def test_a_file_extends_a_series_where_its_first_return_is_plausible(known: Lake) -> None:
    close = walk()["close"].iloc[-1]
    assert counts(csv(known, "AAPL.csv", "Date,Close", f"2022-03-28,{close * 1.02}")) == (1, 1, 0, 0)
    stored = known.read("raw/bars", filters=pc.field("source") == "file").to_pylist()
    assert [row["adj_close"] for row in stored] == [pytest.approx(close * 1.02)]
    assert stored[0]["volume"] is None


def test_a_file_of_another_level_is_refused_with_a_hint(known: Lake) -> None:
    close = walk()["close"].iloc[-1]
    leap = csv(known, "AAPL.csv", "date,close", f"2022-03-28,{close * 4}", f"2022-03-29,{close * 4}")
    assert reasons(known, leap) == {1: "implausible_return", 2: "implausible_return"}
    level = csv(known, "AAPL.csv", "date,close", f"2022-03-24,{close * 4}", f"2022-03-28,{close * 4}")
    assert reasons(known, level) == {1: "level_mismatch", 2: "level_mismatch"}
    assert "adjusted" in known.read("raw/rejects")["reason"][0].as_py()
    assert known.row_count("raw/bars") == 60


def test_a_file_with_closes_that_are_not_adjusted_as_the_known_ones_is_refused(lake: Lake) -> None:
    write_instruments(lake)
    bars = walk("IBM")
    ingest(lake, bars[:50].assign(adj_close=bars["close"] * 0.84), "bokeh", "test")
    lines = bars[45:].to_csv(index=False, columns=["ts", "close", "adj_close"]).splitlines()
    refused = csv(lake, "IBM.csv", *lines)
    assert set(reasons(lake, refused).values()) == {"level_mismatch"}
    assert "adjusted closes are 1.19 times" in lake.read("raw/rejects")["reason"][0].as_py()
    rounded = bars[45:].assign(adj_close=(bars["close"] * 0.84).round(2))
    lines = rounded.to_csv(index=False, columns=["ts", "close", "adj_close"]).splitlines()
    assert csv(lake, "IBM.csv", *lines).rejected == 0


def test_a_file_without_adjusted_close_continues_the_known_ratio(lake: Lake) -> None:
    write_instruments(lake)
    bars = walk("IBM")
    ingest(lake, bars.assign(adj_close=bars["close"] * 0.8), "bokeh", "test")
    close = bars["close"].iloc[-1]
    assert csv(lake, "IBM.csv", "date,close", f"2022-03-28,{close}").accepted == 1
    stored = lake.read("raw/bars", ["adj_close"], pc.field("source") == "file")
    assert stored["adj_close"].to_pylist() == [pytest.approx(close * 0.8)]


def flags(lake: Lake, batch: BatchResult) -> list[tuple[str, str]]:
    rows = lake.read("raw/flags", filters=pc.field("batch_id") == batch.batch_id).sort_by("ts").to_pylist()
    return [(f"{row['ts']:%m-%d}", row["rule"]) for row in rows]


def test_a_missed_split_inside_a_file_is_accepted_and_flagged(known: Lake) -> None:
    bars = walk("NEWCO", 30)
    bars.loc[20:, "close"] /= 2
    batch = csv(known, "NEWCO.csv", *bars.to_csv(index=False, columns=["ts", "close"]).splitlines())
    assert (counts(batch), batch.flagged) == ((30, 30, 0, 0), 1)
    assert flags(known, batch) == [("01-31", "unadjusted_split")]
    assert "2:1 split" in known.read("raw/flags")["reason"][0].as_py()
    assert known.read("raw/batches", filters=pc.field("batch_id") == batch.batch_id)["flagged"].to_pylist() == [1]
    assert unbalanced_batches(known) == []


def test_a_new_day_is_judged_by_the_series_that_it_continues(known: Lake) -> None:
    crash = walk()[-1:].assign(ts=lambda bars: bars["ts"] + pd.Timedelta(days=3), **walk()[-1:][PRICES] * 0.7)
    assert flags(known, ingest(known, crash, "skfolio", "test")) == [("03-28", "jump")]
    other = walk().assign(**walk()[PRICES] * 10)  # of another level, and no part of the truth
    assert ingest(known, other[:-1], "bokeh", "test").flagged == 0
    assert ingest(known, other[-1:], "bokeh", "test").flagged == 0
    assert unbalanced_batches(known) == []


def test_frozen_prices_are_flagged_from_the_fifth_on(known: Lake) -> None:
    lines = [f"2022-05-{day:02},7.25" for day in range(2, 9)]
    assert flags(known, csv(known, "PEGGED.csv", "date,close", *lines[:5])) == [("05-06", "frozen")]
    assert flags(known, csv(known, "PEGGED.csv", "date,close", *lines[5:])) == [
        ("05-07", "frozen"),
        ("05-08", "frozen"),
    ]


def test_prices_in_another_currency_are_refused_until_a_person_says_that_they_are_right(known: Lake) -> None:
    close = walk()["close"].iloc[-1]
    text = (
        "date,close,currency",
        f"2022-03-28,{close},USD",
        f"2022-03-29,{close},EUR",
        f"2022-03-30,{close * 1.01},EUR",
    )
    batch = csv(known, "AAPL.csv", *text)
    assert reasons(known, batch) == {2: "currency_change", 3: "currency_change"}
    assert "the series is in USD" in known.read("raw/rejects")["reason"][0].as_py()
    replay = replay_batch(known, batch.batch_id)
    assert (replay.batch.accepted, replay.batch.flagged, replay.resolved) == (2, 1, 2)
    assert flags(known, replay.batch) == [("03-29", "currency_change")]
    assert unbalanced_batches(known) == []


def test_a_rule_that_rejects_keeps_the_jump_out_until_a_person_says_that_it_is_right(lake: Lake) -> None:
    strict = Lake(lake.uri, severities=Severities(jump="reject", frozen="off"))
    bars = walk()
    bars.loc[40, PRICES] *= 0.72
    batch = ingest(strict, bars, "skfolio", "test")
    assert (counts(batch), batch.flagged) == ((60, 59, 0, 1), 0)
    assert reasons(strict, batch) == {41: "jump"}
    replay = replay_batch(strict, batch.batch_id)
    assert (counts(replay.batch), replay.batch.flagged, replay.resolved) == ((1, 1, 0, 0), 1, 1)
    assert flags(strict, replay.batch) == [("02-28", "jump")]
    assert unbalanced_batches(strict) == []


def test_a_new_symbol_comes_from_a_file(known: Lake) -> None:
    result = csv(known, "newco.csv", "Date,Open,High,Low,Close,Volume", "2022-03-28,5,6,4,5.5,1000")
    assert result.accepted == 1
    assert known.read("raw/bars", ["symbol"], pc.field("source") == "file")["symbol"].to_pylist() == ["NEWCO"]


def test_a_cell_that_cannot_be_read_rejects_its_row_and_keeps_its_text(known: Lake) -> None:
    close = walk()["close"].iloc[-1]
    result = csv(known, "AAPL.csv", "date,close,volume", f"2022-03-28,{close},x12", f"soon,{close},1")
    assert reasons(known, result) == {1: "unreadable", 2: "unreadable"}
    kept = known.read("raw/rejects").to_pandas().set_index("row_number")
    assert kept["reason"].to_dict() == {1: "volume 'x12' cannot be read", 2: "ts 'soon' cannot be read"}
    assert kept["original"][1] == f'{{"date": "2022-03-28", "close": "{close}", "volume": "x12"}}'


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"", "not a readable csv"),
        ("a.csv", b"date,close\n", "no rows"),
        ("a.csv", b"when,price\n2022-01-03,1\n", "column 'ts' is missing; found when, price"),
        ("a.csv", b"\xff\xfe\x00", "not a readable csv"),
        ("a.parquet", b"PAR1", "not a readable parquet"),
        ("a.xlsx", b"", "expected one of .csv, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(name: str, content: bytes, complaint: str) -> None:
    with pytest.raises(UnreadableFileError, match=f"^{name}: .*{complaint}"):
        read_bars(*read_cells(io.BytesIO(content), name))


def test_a_parquet_file_reads_like_the_same_csv(tmp_path: Path) -> None:
    bars = walk(sessions=5)
    bars.to_parquet(tmp_path / "bars.parquet")
    bars.to_csv(tmp_path / "bars.csv", index=False)
    parquet, text = (
        read_bars(*read_cells((tmp_path / name).open("rb"), name)).bars for name in ("bars.parquet", "bars.csv")
    )
    pd.testing.assert_frame_equal(parquet, text)
    pd.testing.assert_frame_equal(parquet, bars, check_dtype=False)


def test_the_embedded_prices_are_the_32_series(lake: Lake) -> None:
    write_instruments(lake)
    results = {name: ingest_source(lake, source) for name, source in EMBEDDED.items()}
    assert {name: counts(result) for name, result in results.items()} == {
        "skfolio": (132_805, 132_805, 0, 0),
        "bokeh": (12_154, 12_154, 0, 0),
        "arch": (19_978, 19_642, 0, 336),  # oil and VIX have no close on 336 holidays
    }
    assert {name: result.flagged for name, result in results.items()} == {"skfolio": 24, "bokeh": 1, "arch": 2}
    flags = lake.read("raw/flags").to_pandas()
    assert flags["rule"].value_counts().to_dict() == {"jump": 23, "unadjusted_split": 2, "frozen": 2}
    days = set(flags["symbol"] + " " + flags["ts"].dt.strftime("%Y-%m-%d"))
    assert {"AAPL 2000-09-29", "BAC 2008-10-07", "VIX 2018-02-05", "WTI 1991-01-17"} <= days
    stored = lake.read("raw/bars", ["symbol", "source"]).to_pandas().drop_duplicates()
    preferred = {(instrument.symbol, instrument.source) for instrument in INSTRUMENTS}
    assert len(preferred) == 32
    assert preferred <= set(stored.itertuples(index=False, name=None))
    assert unbalanced_batches(lake) == []


@pytest.mark.parametrize("source", EMBEDDED.values(), ids=lambda source: source.name)
def test_a_source_cuts_to_symbols_and_sessions(source: object) -> None:
    everything = source.fetch((), None, None)  # type: ignore[attr-defined]
    symbol = everything["symbol"].iloc[0]
    day = everything[everything["symbol"] == symbol]["ts"].iloc[100]
    few = source.fetch((symbol,), day.date(), day.date())  # type: ignore[attr-defined]
    assert few[["symbol", "ts"]].to_numpy().tolist() == [[symbol, day]]


def test_good_bars_break_no_rule() -> None:
    assert broken_rules(walk(), pd.Timestamp.now("UTC")).empty
