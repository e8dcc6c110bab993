"""Failover: a symbol comes from the first source that delivers what fits, and the row and the report say so."""

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from assets_pkg.cli import app
from lake.ingest import ingest, unbalanced_batches
from lake.settings import Settings, get_settings
from lake.sources.failover import Report, _known, _Span, ingest_bars, ingest_live, ingest_live_rows
from lake.splice import current_series
from lake.store import Lake
from tests.bars import walk
from tests.provider_cases import CASES
from tests.provider_market import FIRST, QUICK, SECOND, Market
from tests.provider_server import Answer, Request


@pytest.fixture
def known(lake: Lake, market: Market) -> Lake:
    """A lake that has 50 sessions of AAPL and NEWCO from their preferred source."""
    market.bars[FIRST] = pd.concat([walk()[:50], walk("NEWCO", seed=1)[:50]])
    report = ingest_live(lake, get_settings(), patience=QUICK)
    assert sources(report) == {"AAPL": FIRST, "NEWCO": FIRST}
    assert report.failures == {}
    return lake


def sources(report: Report) -> dict[str, str]:
    return {symbol: delivery.source for symbol, delivery in report.delivered.items()}


def by_source(lake: Lake, symbol: str = "AAPL") -> dict[str, int]:
    return dict(Counter(current_series(lake, pd.array([symbol]).to_numpy())["source"].to_pylist()))


def test_splits_and_dividends_come_with_the_bars_and_a_correction_is_a_new_row(lake: Lake, market: Market) -> None:
    bars = walk()[:50]
    market.bars[FIRST] = bars.assign(dividend=bars["ts"].eq(bars["ts"][20]) * 0.5, split=1.0)
    market.bars[FIRST].loc[45, "split"] = 2.0
    first = ingest_live(lake, get_settings(), patience=QUICK)
    assert [(batch.received, batch.accepted) for batch in first.batches] == [(50, 50), (2, 2)]
    assert [batch.accepted for batch in ingest_live(lake, get_settings(), patience=QUICK).batches] == [0, 0]
    market.bars[FIRST].loc[45, "split"] = 3.0
    ingest_live(lake, get_settings(), patience=QUICK)
    rows = lake.read("raw/corporate_actions").sort_by("ingested_at").to_pylist()
    found = [(row["symbol"], row["ts"].date(), row["kind"], row["value"], row["currency"]) for row in rows]
    paid, split = (bars["ts"][at].date() for at in (20, 45))
    assert sorted(found[:2], key=lambda row: row[1]) == [
        ("AAPL", paid, "dividend", 0.5, "USD"),
        ("AAPL", split, "split", 2.0, None),
    ]
    assert found[2:] == [("AAPL", split, "split", 3.0, None)]
    assert {row["source"] for row in rows} == {FIRST}
    assert unbalanced_batches(lake) == []


def test_when_the_first_source_is_down_the_second_continues_the_series(known: Lake, market: Market) -> None:
    market.down = {FIRST}
    market.bars[SECOND] = walk()
    report = ingest_live(known, get_settings(), patience=QUICK)
    assert sources(report) == {"AAPL": SECOND}
    assert report.failures["AAPL"] == [f"{FIRST}: AAPL: HTTP 503"]
    assert by_source(known) == {FIRST: 50, SECOND: 10}
    series = current_series(known, pd.array(["AAPL"]).to_numpy()).to_pandas()
    assert series["close"].tolist() == walk()["close"].tolist()
    assert unbalanced_batches(known) == []
    assert report.missing == ("NEWCO",)
    assert report.failures["NEWCO"][1] == f"{SECOND}: NEWCO: delivered no bars"


def test_a_fallback_that_knows_of_a_dividend_since_continues_on_the_base_of_the_series(
    known: Lake, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_SOURCES", f"AAPL: {SECOND}, {FIRST}")
    ingest(known, walk()[:50], SECOND, "test")
    paid = walk()
    market.down = {SECOND}
    market.bars[FIRST] = paid.assign(adj_close=paid["close"].where(paid.index >= 55, paid["close"] * 0.9))
    assert sources(ingest_live(known, get_settings(), patience=QUICK)) == {"AAPL": FIRST}
    series = current_series(known, pd.array(["AAPL"]).to_numpy()).to_pandas()
    ratio = (series["adj_close"] / series["close"]).round(3).tolist()
    assert ratio == [1.0] * 55 + [1.111] * 5
    versions = known.row_count("raw/bars")
    ingest_live(known, get_settings(), patience=QUICK)
    assert known.row_count("raw/bars") == versions


def test_what_the_preferred_source_delivers_later_takes_its_place(known: Lake, market: Market) -> None:
    market.down, market.bars[SECOND] = {FIRST}, walk()
    ingest_live(known, get_settings(), patience=QUICK)
    market.down, market.bars[FIRST] = set(), walk()
    assert sources(ingest_live(known, get_settings(), patience=QUICK))["AAPL"] == FIRST
    assert by_source(known) == {FIRST: 60}


def test_a_second_source_of_another_level_is_refused_with_the_reason(known: Lake, market: Market) -> None:
    market.down = {FIRST}
    prices = ["open", "high", "low", "close"]
    market.bars[SECOND] = walk().assign(**{name: walk()[name] * 4 for name in prices})
    report = ingest_live(known, get_settings(), patience=QUICK)
    assert "AAPL" in report.missing
    assert "closes are 4 times the known ones" in report.failures["AAPL"][1]
    assert by_source(known) == {FIRST: 50}
    assert unbalanced_batches(known) == []
    again = ingest_live(known, get_settings(), patience=QUICK)  # the same bars again are refused again
    assert again.failures["AAPL"] == report.failures["AAPL"]


def test_a_source_with_prices_in_another_currency_is_refused_with_the_reason(lake: Lake, market: Market) -> None:
    ingest(lake, walk()[:50].assign(currency="EUR"), FIRST, "test")
    market.bars[FIRST] = market.bars[SECOND] = walk()
    report = ingest_live(lake, get_settings(), patience=QUICK)
    assert "AAPL" in report.missing
    assert ["the series is in EUR" in reason for reason in report.failures["AAPL"]] == [True, True]
    assert by_source(lake) == {FIRST: 50}
    assert unbalanced_batches(lake) == []


def test_without_any_source_the_report_says_what_each_said(lake: Lake, market: Market) -> None:
    market.down = {FIRST}
    report = ingest_live(lake, get_settings(), patience=QUICK)
    assert report.missing == ("AAPL", "NEWCO")
    assert report.failures["AAPL"] == [f"{FIRST}: AAPL: HTTP 503", f"{SECOND}: AAPL: delivered no bars"]
    assert report.batches == []


def test_a_dividend_fetches_the_whole_series_again(known: Lake, market: Market) -> None:
    paid = walk()
    market.bars[FIRST] = paid.assign(adj_close=paid["close"].where(paid.index >= 55, paid["close"] * 0.99))
    ingest_live(known, get_settings(), patience=QUICK)
    series = current_series(known, pd.array(["AAPL"]).to_numpy()).to_pandas()
    ratio = (series["adj_close"] / series["close"]).round(6).tolist()
    assert ratio == [0.99] * 55 + [1.0] * 5


def test_an_increment_asks_for_a_few_days_only(known: Lake, market: Market) -> None:
    market.bars[FIRST] = pd.concat([walk(), walk("NEWCO", seed=1)])
    market.server.requests.clear()
    report = ingest_live(known, get_settings(), patience=QUICK)
    last = walk()["ts"][49].date()
    assert {date.fromisoformat(request.query["date.gte"]) for request in market.server.requests} == {
        last - pd.Timedelta(days=10)
    }
    (batch,) = report.batches
    assert (batch.accepted, batch.rejected) == (20, 0)


def test_an_increment_reads_what_it_compares_only(known: Lake) -> None:
    found = _known(known, FIRST, {"AAPL": FIRST, "NOPE": FIRST}, _Span("1d", None, None))
    assert list(found) == ["AAPL"]
    last = walk()["ts"][49]
    assert (found["AAPL"].first, found["AAPL"].newest) == (walk()["ts"][0].date(), last.date())
    assert found["AAPL"].bars["ts"].min() == last - pd.Timedelta(days=10)


def test_another_source_that_is_no_fallback_stays_beside_the_series(known: Lake) -> None:
    other = walk().assign(close=walk()["close"] * 4, high=walk()["high"] * 4)
    assert ingest(known, other, "bokeh", "test").accepted == 60  # kept, for the comparison of sources
    assert by_source(known) == {FIRST: 50}


def test_the_instruments_say_where_a_series_comes_from(known: Lake) -> None:
    rows = {row["symbol"]: row for row in known.read("raw/instruments").to_pylist()}
    assert {key: rows["AAPL"][key] for key in ("name", "source", "fallbacks")} == {
        "name": "Apple",
        "source": FIRST,
        "fallbacks": SECOND,
    }
    assert (rows["NEWCO"]["calendar"], rows["MSFT"]["fallbacks"]) == ("XNYS", "")
    assert (rows["AAPL"]["currency"], rows["NEWCO"]["currency"]) == ("USD", None)  # NEWCO's bars say it


def test_a_command_without_the_settings_of_the_server_leaves_the_live_series(
    known: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = known.read("raw/instruments").sort_by("symbol")
    monkeypatch.delenv("LAKEHOUSE_SOURCES")
    (tmp_path / "MINE.csv").write_text("date,close\n2022-01-03,-1\n")
    assert CliRunner().invoke(app, ["ingest", str(tmp_path / "MINE.csv")]).exit_code == 0
    assert known.read("raw/instruments").sort_by("symbol").equals(before)


def test_intervals_are_series_of_their_own(known: Lake) -> None:
    hourly = walk(sessions=3).assign(interval="1h", close=1.0, open=1.0, high=1.0, low=1.0, adj_close=1.0)
    hourly["ts"] = pd.date_range("2022-01-03 14:30", periods=3, freq="1h", tz="UTC")
    minute = hourly.assign(interval="1m", ts=hourly["ts"] + pd.Timedelta(minutes=1))
    off_grid = minute.assign(ts=minute["ts"] + pd.Timedelta(seconds=7))
    result = ingest(known, pd.concat([hourly, minute, off_grid]), SECOND, "test")
    assert (result.accepted, result.rejected) == (6, 3)
    reasons = known.read("raw/rejects", ["rule"], pc.field("batch_id") == result.batch_id)
    assert set(reasons["rule"].to_pylist()) == {"ts_on_grid"}
    assert by_source(known)[FIRST] == 50


def test_a_source_without_the_interval_is_passed_over(lake: Lake, market: Market) -> None:
    from lake.sources import live_bars

    settings = get_settings()
    order = [live_bars(FIRST, settings, QUICK), live_bars(SECOND, settings, QUICK)]
    market.down = {SECOND}
    report = ingest_bars(lake, {"AAPL": order}, interval="1h")
    assert "has no bars of 1h" in report.failures["AAPL"][0]
    assert "HTTP 503" in report.failures["AAPL"][1]


def test_macro_series_are_kept_by_vintage(
    lake: Lake, market: Market, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_FRED__KEY", "k")
    monkeypatch.setenv("LAKEHOUSE_FRED__SERIES", "GDPC1")
    monkeypatch.setenv("LAKEHOUSE_BCRP__SERIES", "PD04638PD, PD12301MD")

    def answer(request: Request) -> Any:
        if request.path.startswith("/PD12301MD"):
            return Answer("<html>", 404)
        return CASES["fred" if request.path == "/series/observations" else "bcrp"].answer(request)

    market.server.answer = answer
    bcrp, fred = ingest_live_rows(lake, get_settings(), patience=QUICK)
    assert (bcrp.table, bcrp.missing, fred.missing) == ("raw/macro", ("PD12301MD",), ())
    assert [(batch.source, batch.accepted) for batch in bcrp.batches + fred.batches] == [("bcrp", 2), ("fred", 3)]
    again = [batch for report in ingest_live_rows(lake, get_settings(), patience=QUICK) for batch in report.batches]
    assert [(batch.accepted, batch.unchanged) for batch in again] == [(0, 2), (0, 3)]
    known_on = pc.field("released_at") <= pd.Timestamp("2024-02-01", tz="UTC").to_pydatetime()
    assert lake.read("raw/macro", ["value"], known_on)["value"].to_pylist() == [3.3]
    assert unbalanced_batches(lake) == []


@pytest.mark.parametrize("name", ["edgar", "news"])
def test_filings_and_news_are_kept_once_and_a_change_is_a_new_row(lake: Lake, name: str) -> None:
    from lake.sources.base import rows_frame
    from lake.sources.edgar import COLUMNS as FACTS
    from lake.sources.news import COLUMNS as NEWS

    common = {"symbol": "AAPL", "ts": "2024-01-02"}
    fact = common | {"concept": "us-gaap/Assets", "unit": "USD", "period_start": None, "value": 1.0, "form": "10-K"}
    fact |= {"fiscal_year": 2023, "fiscal_period": "FY", "accession": "1", "released_at": "2024-02-01"}
    item = common | {"id": "1", "headline": "Up", "url": None}
    if name == "edgar":
        table, row, changed, broken = "raw/fundamentals", fact, {"value": 2.0}, {"accession": "2", "value": None}
        frame = lambda *rows: rows_frame(rows, FACTS, ["value"])  # noqa: E731
    else:
        table, row, changed, broken = "raw/news", item, {"headline": "Down"}, {"id": "2", "headline": None}
        frame = lambda *rows: rows_frame(rows, NEWS)  # noqa: E731
    first = ingest(lake, frame(row, row | broken), name, "test", table=table)
    assert (first.accepted, first.rejected) == (1, 1)
    assert ingest(lake, frame(row), name, "test", table=table).unchanged == 1
    assert ingest(lake, frame(row | changed), name, "test", table=table).accepted == 1
    assert lake.row_count(table) == 2
    assert unbalanced_batches(lake) == []
