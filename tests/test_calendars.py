"""Exchange calendars: their sessions in the lake, and the series that lag behind them."""

from datetime import UTC, datetime, timedelta

import exchange_calendars
import pyarrow as pa
import pytest

from lake.calendars import stale_series, write_sessions
from lake.ingest import ingest, write_instruments
from lake.settings import Settings
from lake.sources.base import Instrument
from lake.sources.yahoo import CALENDARS, YahooSource
from lake.store import Lake
from tests.bars import walk


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def known(lake: Lake) -> Lake:
    """AAPL of an embedded source that goes on to its end, and live BTC without any bar yet."""
    write_instruments(lake, ["AAPL"], {"BTC": Instrument("BTC", "Bitcoin", "crypto", "USD", "24/7", "binance")})
    ingest(lake, walk(start="2001-09-03"), "skfolio", "test")
    write_sessions(lake)
    return lake


def opening(lake: Lake, calendar: str) -> dict[datetime, datetime]:
    rows = lake.read("raw/sessions").to_pylist()
    return {row["ts"]: row["opens_at"] for row in rows if row["calendar"] == calendar}


def test_sessions_know_holidays_closures_half_days_and_summer_time(known: Lake) -> None:
    new_york = opening(known, "XNYS")
    closed = ("2001-09-11", "2001-09-14", "2012-10-29", "2012-10-30", "2024-07-04", "2024-11-28", "2024-11-30")
    assert not new_york.keys() & {day(text) for text in closed}
    assert new_york.keys() >= {day(text) for text in ("2001-09-10", "2001-09-17", "2012-10-31", "2024-11-29")}
    assert new_york[day("2024-03-08")] == day("2024-03-08T14:30")
    assert new_york[day("2024-03-11")] == day("2024-03-11T13:30")
    sessions = {(row["calendar"], row["ts"]): row for row in known.read("raw/sessions").to_pylist()}
    half = sessions["XNYS", day("2024-11-29")]
    assert (half["closes_at"], half["early_close"]) == (day("2024-11-29T18:00"), True)
    assert not sessions["XNYS", day("2024-11-27")]["early_close"]
    assert sessions["24/7", day("2024-11-30")]["closes_at"] == day("2024-12-01")


def test_the_next_holiday_is_only_what_could_be_known_before(known: Lake) -> None:
    sessions = {row["ts"]: row for row in known.read("raw/sessions").to_pylist() if row["calendar"] == "XNYS"}
    before, after = sessions[day("2001-09-10")], sessions[day("2001-09-17")]
    assert (before["previous_holiday"], before["next_holiday"]) == (day("2001-09-03"), day("2001-11-22"))
    assert (after["previous_holiday"], after["next_holiday"]) == (day("2001-09-14"), day("2001-11-22"))
    newest = max(sessions)
    assert sessions[newest]["next_holiday"] == day(f"{newest.year + 1}-01-01")


def test_sessions_reach_from_the_first_bar_to_the_end_of_the_year(known: Lake) -> None:
    days = opening(known, "24/7")
    year = datetime.now(UTC).year
    assert (min(days), max(days)) == (day("2001-01-01"), day(f"{year}-12-31"))
    assert len(days) == (max(days) - min(days)).days + 1


def test_sessions_are_written_again_only_when_they_change(known: Lake) -> None:
    version = write_sessions(known)
    assert write_sessions(known) == version
    write_instruments(known, ["AAPL"], {"0700.HK": Instrument("0700.HK", "Tencent", "equity", "HKD", "XHKG", "yahoo")})
    assert write_sessions(known) > version
    lunch = next(row for row in known.read("raw/sessions").to_pylist() if row["calendar"] == "XHKG")
    assert (lunch["break_ends_at"] - lunch["break_starts_at"]) > timedelta(minutes=30)


def test_symbols_of_yahoo_follow_the_exchange_of_their_suffix(settings: Settings) -> None:
    symbols = ("AAPL", "BRK-B", "VOD.L", "BVN.LM", "7203.T", "RY.TO", "EURUSD=X", "CL=F", "BTC-USD")
    yahoo = YahooSource(settings)
    assert [yahoo.calendar_of(symbol) for symbol in symbols] == (
        ["XNYS", "XNYS", "XLON", "XLIM", "XTKS", "XTSE", "24/5", "CMES", "24/7"]
    )
    assert set(CALENDARS.values()) <= set(exchange_calendars.get_calendar_names())


def stale(lake: Lake, now: str) -> dict[str, int | None]:
    return {row["symbol"]: row["sessions_behind"] for row in stale_series(lake, day(now))}


def test_a_series_that_has_reached_the_end_of_its_source_is_not_stale(known: Lake) -> None:
    assert stale(known, "2024-07-01").keys() == {"AAPL", "BTC"}  # AAPL stops in 2001, and BTC has no bar at all
    ingest(known, walk(start="2022-10-07"), "skfolio", "the rest, up to 2022-12-29")
    ingest(known, walk("BTC").assign(asset_class="crypto"), "binance", "60 weekdays")
    assert stale(known, "2022-03-26") == {}
    assert stale(known, "2024-07-01").keys() == {"BTC"}


def test_a_live_series_is_stale_after_a_week_of_its_own_sessions(known: Lake) -> None:
    ingest(known, walk("BTC", sessions=5, start="2024-06-24"), "binance", "up to Friday 2024-06-28")
    assert "BTC" not in stale(known, "2024-07-04T00:00")  # five days are over since then
    assert stale(known, "2024-07-05T00:00")["BTC"] == 6


def test_a_file_that_was_old_when_it_came_is_history_and_one_that_was_fresh_a_feed(known: Lake) -> None:
    ingest(known, walk("MINE", sessions=5, start="2024-06-24"), "file", "mine.csv")
    assert "MINE" not in stale(known, "2024-07-10")
    bars = known.read("raw/bars")
    came = pa.array([day("2024-06-30")] * len(bars), bars.schema.field("ingested_at").type)
    at = bars.schema.get_field_index("ingested_at")
    known.replace("raw/bars", bars.set_column(at, bars.schema.field(at), came))
    assert "MINE" not in stale(known, "2024-07-08T21:00")  # the 4th was a holiday: 1, 2, 3, 5 and 8 July are over
    assert stale(known, "2024-07-09T21:00")["MINE"] == 6
