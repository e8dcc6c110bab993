"""Backfills: a range comes in once, a run goes on where one stopped, corrections come in, and all rules are kept."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets_pkg.assets.raw import raw
from assets_pkg.definitions import build_definitions
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.backfill import BackfillError, backfill, uncovered
from lake.ingest import unbalanced_batches
from lake.settings import get_settings
from lake.sources.failover import Report, ingest_live
from lake.splice import current_series
from lake.store import Lake
from tests.bars import walk
from tests.graph_kit import LAKEHOUSE, Home
from tests.provider_market import FIRST, QUICK, SECOND, Market
from tests.test_dbt_project import Project

START, END = date(2022, 1, 3), date(2022, 3, 25)  # the sixty sessions of a walk
DAY = timedelta(days=1)
days = st.dates(date(2022, 1, 1), date(2022, 2, 28))


def run(
    lake: Lake, start: date = START, end: date = END, *, symbols: Sequence[str] = (), again: bool = False
) -> Report:
    return backfill(lake, get_settings(), start, end, symbols=symbols, again=again, say=lambda _: None, patience=QUICK)


def asked(market: Market, parameter: str = "ticker") -> list[str]:
    """What the providers were asked for since the last call."""
    found = [request.query[parameter] for request in market.server.requests if parameter in request.query]
    market.server.requests.clear()
    return found


def two_symbols() -> pd.DataFrame:
    return pd.concat([walk(), walk("NEWCO", seed=1)])


def newest(lake: Lake, symbol: str = "AAPL") -> pd.DataFrame:
    """The latest version of each bar of a symbol."""
    rows = lake.read("raw/bars", filters=pc.field("symbol") == symbol).to_pandas().sort_values("ingested_at")
    return rows.drop_duplicates("ts", keep="last").sort_values("ts", ignore_index=True)


def closes(lake: Lake) -> list[float]:
    return newest(lake)["close"].to_list()


@given(st.lists(st.tuples(days, days)), days, days)
def test_what_is_not_covered_is_what_is_left_of_the_days(done: list[tuple[date, date]], start: date, end: date) -> None:
    def each(first: date, last: date) -> set[date]:
        return {first + i * DAY for i in range((last - first).days + 1)}

    left = uncovered([(first, last) for first, last in done if first <= last], start, end)
    found = [day for first, last in left for day in sorted(each(first, last))]
    assert found == sorted(each(start, end) - {day for first, last in done for day in each(first, last)})
    assert all(first <= last for first, last in left)


def test_a_range_is_brought_in_once_and_a_wider_one_asks_for_the_rest(lake: Lake, market: Market) -> None:
    market.bars[FIRST] = two_symbols()
    half = date(2022, 2, 11)
    report = run(lake, half)
    assert {name: delivery.source for name, delivery in report.delivered.items()} == {
        f"AAPL {half} to {END}": FIRST,
        f"NEWCO {half} to {END}": FIRST,
    }
    assert asked(market) == ["AAPL", "NEWCO"]
    assert run(lake, half).batches == []
    assert asked(market) == []
    run(lake)
    assert {request.query["date.gte"] for request in market.server.requests} == {str(START)}
    assert closes(lake) == walk()["close"].to_list()
    assert unbalanced_batches(lake) == []
    (row,) = (
        lake.read("raw/requests", filters=pc.field("range_end") == half - DAY)
        .filter(pc.field("symbol") == "AAPL")
        .to_pylist()
    )
    assert (row["range_start"], row["source"], row["interval"]) == (START, FIRST, "1d")
    (batch,) = lake.read("raw/batches", filters=pc.field("batch_id") == row["batch_id"]).to_pylist()
    assert batch["accepted"] == 2 * len(walk()[walk()["ts"] < pd.Timestamp(half, tz="UTC")])


def test_what_failed_is_named_and_asked_for_again(lake: Lake, market: Market) -> None:
    market.down, market.bars[SECOND] = {FIRST}, walk()
    report = run(lake)
    assert report.missing == (f"NEWCO {START} to {END}",)
    assert report.failures[report.missing[0]] == [f"{FIRST}: NEWCO: HTTP 503", f"{SECOND}: NEWCO: delivered no bars"]
    assert report.delivered[f"AAPL {START} to {END}"].source == SECOND
    market.down, market.bars[FIRST] = set(), two_symbols()
    asked(market)
    assert run(lake).missing == ()
    assert asked(market) == ["NEWCO"]


def test_an_empty_answer_asks_the_next_source_but_before_the_series(lake: Lake, market: Market) -> None:
    market.bars[FIRST] = walk()[:20]
    ingest_live(lake, get_settings(), patience=QUICK)
    half = date(2022, 2, 14)
    report = run(lake, half, symbols=["AAPL"])
    assert report.failures[report.missing[0]] == [f"{name}: AAPL: delivered no bars" for name in (FIRST, SECOND)]
    market.bars[SECOND] = walk()
    assert run(lake, half, symbols=["AAPL"]).delivered[f"AAPL {half} to {END}"].source == SECOND
    before = (date(2021, 1, 4), date(2021, 12, 31))
    assert run(lake, *before, symbols=["AAPL"]).missing == ()
    asked(market)
    run(lake, *before, symbols=["AAPL"])
    assert asked(market) == []


def test_a_source_that_takes_the_place_of_another_is_asked(
    lake: Lake, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.bars = {FIRST: two_symbols(), SECOND: walk()}
    run(lake)
    monkeypatch.setenv("LAKEHOUSE_SOURCES", f"AAPL: {SECOND}")
    assert run(lake).delivered[f"AAPL {START} to {END}"].source == SECOND


def test_late_corrections_are_new_versions_and_the_market_shows_them(
    lake: Lake, market: Market, tmp_path: Path
) -> None:
    market.bars[FIRST] = walk()
    run(lake, symbols=["AAPL"])
    corrected = walk()
    corrected.loc[20, ["close", "adj_close"]] = corrected.loc[20, "low"]
    market.bars[FIRST] = corrected
    ingest_live(lake, get_settings(), patience=QUICK)
    assert closes(lake) == walk()["close"].to_list()  # the increment looks ten days back
    (batch,) = run(lake, symbols=["AAPL"], again=True).batches
    assert (batch.accepted, batch.unchanged) == (1, 59)
    assert lake.row_count("raw/bars") == 61
    project = Project(get_settings().home, tmp_path / "target")
    project.dbt("run", "--select", "bars")
    bars = project.table("market/bars")
    assert bars["close"].to_list() == corrected["close"].to_list()
    assert set(bars["source"]) == {FIRST}
    assert bars["batch_id"].eq(batch.batch_id).sum() == 1


def test_a_dividend_beside_the_range_fetches_all_that_is_known_again(lake: Lake, market: Market) -> None:
    market.bars[FIRST] = walk()
    run(lake, date(2022, 2, 1), date(2022, 2, 28), symbols=["AAPL"])
    paid = walk().assign(adj_close=walk()["close"] * 0.99)
    market.bars[FIRST] = paid
    run(lake, date(2022, 3, 1), symbols=["AAPL"])
    known = paid[paid["ts"] >= pd.Timestamp("2022-02-01", tz="UTC")]
    assert newest(lake)["adj_close"].to_list() == known["adj_close"].to_list()


@pytest.mark.parametrize(("level", "rows"), [(1.0, 60), (4.0, 41)])
def test_a_fallback_goes_back_from_a_known_series_where_levels_agree(
    lake: Lake, market: Market, level: float, rows: int
) -> None:
    market.bars[FIRST] = walk()
    run(lake, date(2022, 1, 28), symbols=["AAPL"])
    market.down = {FIRST}
    prices = ["open", "high", "low", "close"]
    market.bars[SECOND] = walk().assign(**{name: walk()[name] * level for name in prices})
    report = run(lake, symbols=["AAPL"])
    assert len(closes(lake)) == rows
    assert bool(report.missing) == (level != 1.0)
    if report.missing:
        assert "closes are 4 times the known ones" in report.failures[report.missing[0]][1]


def test_a_fallback_without_adjusted_closes_takes_the_ratio_of_its_time(lake: Lake, market: Market) -> None:
    paid = walk()
    market.bars[FIRST] = paid.assign(adj_close=paid["close"].where(paid.index >= 30, paid["close"] * 0.9)).drop(
        [12, 13]
    )
    run(lake, symbols=["AAPL"])
    market.down, market.bars[SECOND] = {FIRST}, walk()
    assert run(lake, symbols=["AAPL"], again=True).missing == ()
    series = current_series(lake, pd.array(["AAPL"]).to_numpy()).to_pandas()
    assert series["source"].eq(SECOND).sum() == 2
    assert (series["adj_close"] / series["close"]).round(9).to_list() == [0.9] * 30 + [1.0] * 30


def test_hours_come_year_by_year_and_are_complete_to_the_last_day(lake: Lake, market: Market) -> None:
    sessions = pd.bdate_range("2021-11-29", "2022-01-07", tz="UTC")
    ts = sessions.union(sessions + pd.Timedelta(hours=5)) + pd.Timedelta(hours=15)
    hours = walk(sessions=len(ts)).assign(interval="1h", ts=ts)
    market.bars[SECOND] = hours
    lines: list[str] = []
    report = backfill(
        lake,
        get_settings(),
        date(2020, 1, 1),
        date(2022, 1, 7),
        symbols=["aapl"],
        interval="1h",
        say=lines.append,
        patience=QUICK,
    )
    assert report.missing == ()  # a year before the first bar is empty
    assert [line.split(" to ")[0] for line in lines[1:]] == ["[1/3] 2022-01-01", "[2/3] 2021-01-01", "[3/3] 2020-01-01"]
    assert closes(lake) == hours["close"].to_list()
    assert "2021-12" in asked(market, "month")
    assert sorted(lake.read("raw/requests", ["rows"])["rows"].to_pylist()) == [0, 10, 54]  # four days of overlap


def test_what_makes_no_sense_is_said(lake: Lake, market: Market) -> None:
    with pytest.raises(BackfillError, match="NOPE: no live source; LAKEHOUSE_SOURCES"):
        run(lake, symbols=["AAPL", "NOPE"])
    with pytest.raises(BackfillError, match="no day lies between 2022-04-01 and 2022-03-25"):
        run(lake, date(2022, 4, 1))
    with pytest.raises(BackfillError, match="interval '5m' is none of 1d, 1h, 1m"):
        backfill(lake, get_settings(), START, END, interval="5m")
    assert asked(market) == []


def test_killed_in_the_middle_it_goes_on_where_it_was(
    lake: Lake, market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = [f"S{i:02d}" for i in range(15)]
    market.bars[FIRST] = pd.concat([walk(symbol, seed=i) for i, symbol in enumerate(symbols)])
    variables = market.variables | {"LAKEHOUSE_SOURCES": f"{', '.join(symbols)}: {FIRST}"}
    home = Home(tmp_path / "killed", tuple(variables.items()))
    command = ("backfill", "--from", str(START), "--to", str(END))
    market.holds = "S12"
    with home.start(LAKEHOUSE, *command) as started:
        assert market.held.wait(60), started.output
        started.process.kill()
        started.process.wait()
        assert f"[1/2] {START} to {END}  S00, S01, S02 and 7 more: 600 new bars" in started.output
    market.holds = ""
    asked(market)
    done = home.run(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert asked(market) == symbols[10:]
    assert "[1/1]" in done.stdout

    def bars(of: Lake) -> pd.DataFrame:
        rows = of.read("raw/bars").to_pandas().drop(columns=["batch_id", "ingested_at"])
        return rows.sort_values(["symbol", "ts"], ignore_index=True)

    assert len(bars(home.lake)) == 15 * 60
    with home.instance() as instance:  # what automation goes by
        assert instance.get_latest_materialization_event(dg.AssetKey(["raw", "bars"])) is not None
    assert min(home.lake.read("raw/sessions", ["ts"])["ts"].to_pylist()).year == START.year
    monkeypatch.setenv("LAKEHOUSE_SOURCES", variables["LAKEHOUSE_SOURCES"])
    run(lake)
    pd.testing.assert_frame_equal(bars(home.lake), bars(lake))
    assert unbalanced_batches(home.lake) == []


def test_in_dagster_it_is_one_run_that_tells_the_source_of_each_symbol(lake: Lake, market: Market) -> None:
    market.bars[FIRST] = walk()
    config = {"ops": {"raw": {"config": {"backfill": {"start": str(START), "end": str(END)}}}}}
    dg.validate_run_config(build_definitions().resolve_job_def("backfill"), config)
    result = dg.materialize([raw], resources={"lakehouse": LakehouseResource()}, run_config=config)
    assert result.success
    bars = result.asset_materializations_for_node("raw")[1]
    assert bars.asset_key == dg.AssetKey(["raw", "bars"])
    none, aapl = [list(record.data.values()) for record in bars.metadata["sources"].records]
    assert aapl == [f"AAPL {START} to {END}", FIRST, "60", ""]
    assert none[:3] == [f"NEWCO {START} to {END}", "none", "0"]
    assert none[3].startswith(f"{FIRST}: NEWCO: delivered no bars; {SECOND}: ")
    (check,) = [found for found in result.get_asset_check_evaluations() if found.check_name == "live_sources_deliver"]
    assert not check.passed
    assert check.description.startswith(f"nothing came for NEWCO {START} to {END} ({FIRST}: NEWCO: delivered no bars, ")
