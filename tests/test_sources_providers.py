"""Every live provider, replayed on loopback: what it delivers, and what becomes of each way in which it can fail."""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any

import pandas as pd
import pytest

from lake.settings import Settings, get_settings
from lake.sources import LIVE_BARS, LIVE_ROWS, live_bars, live_rows
from lake.sources.base import ACTION_COLUMNS, BAR_COLUMNS, INTERVALS, actions_of
from lake.sources.http import (
    AccessError,
    ChangedFormatError,
    MalformedError,
    Patience,
    SourceError,
    UnavailableError,
)
from tests.provider_answers import HTML, KEY
from tests.provider_cases import CASES, Case
from tests.provider_server import SLOW, Answer, ProviderServer

QUICK = Patience(attempts=3, backoff=0.01)
KEYED = [name for name, case in CASES.items() if case.refused]
FAULTS: dict[str, Answer | Callable[[Any], Answer]] = {
    "rate limit": Answer({"error": "slow down"}, 429, {"Retry-After": "0"}),
    "server error": Answer("Bad gateway", 502),
    "slow": Answer("[]", delay=SLOW),
    "truncated": lambda body: Answer(body, cut=True),
    "HTML": Answer(HTML),
}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    server = ProviderServer()
    yield server
    server.close()


@pytest.fixture
def online(server: ProviderServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings in which every provider is the server on loopback, with keys and a short time-out."""
    for name, case in CASES.items():
        prefix = f"LAKEHOUSE_{name.upper()}__"
        monkeypatch.setenv(f"{prefix}BASE_URL", server.url + case.base_path)
        monkeypatch.setenv(f"{prefix}REQUESTS_PER_MINUTE", "1000000")
        monkeypatch.setenv(f"{prefix}TIMEOUT", "0.5")
        if name in KEYED:
            monkeypatch.setenv(f"{prefix}KEY", KEY)
    monkeypatch.setenv("LAKEHOUSE_EDGAR__CONTACT", "A. Tester test@example.com")
    monkeypatch.setenv("LAKEHOUSE_EDGAR__TICKERS_URL", f"{server.url}/files/company_tickers.json")
    return get_settings()


@pytest.fixture(params=CASES.values(), ids=lambda case: case.name)
def case(request: pytest.FixtureRequest, server: ProviderServer) -> Case:
    """Each provider in turn, and the server answering as it does."""
    case: Case = request.param
    server.answer = case.answer
    # What yfinance asks first, cookies and the time zone that it caches, is not counted.
    server.is_data = lambda asked: asked.path.startswith(case.path) and asked.query.get("range") != "1d"
    return case


def fetch(case: Case, settings: Settings, patience: Patience = QUICK, symbol: str = "") -> pd.DataFrame:
    source = (live_bars if case.name in LIVE_BARS else live_rows)(case.name, settings, patience)
    return source.fetch([symbol or case.symbol], None, None)


def rows(case: Case, frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    text = frame[list(case.columns)].copy()
    for column in text.columns:
        if isinstance(text[column].dtype, pd.DatetimeTZDtype):
            text[column] = text[column].dt.tz_localize(None).astype("string").str.removesuffix(" 00:00:00")
    return list(text.astype(object).where(text.notna(), None).itertuples(index=False, name=None))


def answers(server: ProviderServer, case: Case, answer: Any) -> None:
    server.answer = lambda asked: answer if asked.path.startswith(case.path) else case.answer(asked)


def test_every_provider_is_found_by_its_name_and_replayed_here() -> None:
    assert {**LIVE_BARS, **LIVE_ROWS}.keys() == CASES.keys()
    with pytest.raises(KeyError, match=r"no source is called 'bloomberg'; there are yahoo, "):
        live_bars("bloomberg", get_settings())


def test_it_delivers_all_pages_in_our_columns(case: Case, online: Settings, server: ProviderServer) -> None:
    frame = fetch(case, online)
    assert rows(case, frame) == [*case.rows]
    assert len(server.requests) == case.pages
    if case.name in LIVE_BARS:
        assert list(frame.columns) == [*BAR_COLUMNS, *ACTION_COLUMNS]
        assert set(frame["interval"]) == {"1d"}


@pytest.mark.parametrize("name", LIVE_BARS)
def test_splits_and_dividends_come_with_the_bars(name: str, online: Settings, server: ProviderServer) -> None:
    case = CASES[name]
    server.answer = case.answer
    actions = actions_of(fetch(case, online))
    found = actions.assign(ts=actions["ts"].dt.strftime("%Y-%m-%d"))[["ts", "kind", "value"]]
    assert list(found.itertuples(index=False, name=None)) == [*case.actions]
    assert set(actions.loc[actions["kind"] == "dividend", "currency"]) <= {"USD"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_asked_again(case: Case, fault: str, online: Settings, server: ProviderServer) -> None:
    server.faults = [FAULTS[fault]]
    assert rows(case, fetch(case, online)) == [*case.rows]
    assert server.faults == []
    assert len(server.requests) == case.pages + 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("server error", (UnavailableError, "HTTP 502")),
        ("HTML", (MalformedError, "HTML page instead of")),
    ],
)
def test_a_lasting_fault_is_told_with_provider_and_symbol(
    case: Case, fault: str, expected: tuple[type[SourceError], str], online: Settings, server: ProviderServer
) -> None:
    error, words = expected
    server.faults = [FAULTS[fault]] * 99
    with pytest.raises(error, match=rf"^{case.name}: {case.symbol}: .*{words}"):
        fetch(case, online)
    assert len(server.requests) == QUICK.attempts


def test_nothing_to_deliver_is_no_error(case: Case, online: Settings, server: ProviderServer) -> None:
    answers(server, case, case.empty)
    frame = fetch(case, online)
    assert frame.empty
    assert set(case.columns) <= set(frame.columns)


def test_an_unknown_symbol_is_told_at_once(case: Case, online: Settings, server: ProviderServer) -> None:
    answers(server, case, case.unknown)
    if case.unknown_error is None:
        assert fetch(case, online, symbol="NOPE").empty
    else:
        with pytest.raises(case.unknown_error, match=rf"^{case.name}: NOPE: "):
            fetch(case, online, symbol="NOPE")
    assert len(server.requests) <= case.pages


def test_changed_columns_are_named(case: Case, online: Settings, server: ProviderServer) -> None:
    answers(server, case, case.changed)
    with pytest.raises(ChangedFormatError, match=case.missing):
        fetch(case, online)


@pytest.mark.parametrize("name", KEYED)
def test_a_wrong_key_is_told_and_never_shown(
    name: str, online: Settings, server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    server.answer = lambda _: case.refused
    with caplog.at_level(logging.DEBUG), pytest.raises(AccessError) as caught:
        fetch(case, online)
    assert KEY in {*server.requests[0].query.values(), server.requests[0].headers.get("x-api-token")} or (
        server.requests[0].headers.get("authorization") == f"Bearer {KEY}"
    )
    assert "HTTP Request" in caplog.text  # the client does log what it asks
    assert KEY not in caplog.text + str(caught.value) + repr(online)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", KEYED)
def test_a_missing_key_names_the_setting_and_asks_nothing(
    name: str, online: Settings, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"LAKEHOUSE_{name.upper()}__KEY")
    with pytest.raises(AccessError, match=f"LAKEHOUSE_{name.upper()}__KEY"):
        fetch(CASES[name], get_settings())
    assert server.requests == []


def test_the_sec_is_told_who_asks(online: Settings, server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = CASES["edgar"].answer
    fetch(CASES["edgar"], online)
    assert {request.headers["user-agent"] for request in server.requests} == {"A. Tester test@example.com"}
    monkeypatch.delenv("LAKEHOUSE_EDGAR__CONTACT")
    with pytest.raises(AccessError, match="LAKEHOUSE_EDGAR__CONTACT"):
        fetch(CASES["edgar"], get_settings())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"Note": f"Our standard API call frequency is 5 calls per minute. Your key {KEY}"}, "5 calls per minute"),
        ({"Information": f"We have detected your API key as {KEY}: 25 requests per day."}, "25 requests per day"),
        ({"Information": "Thank you! This is a premium endpoint."}, "premium endpoint"),
    ],
)
def test_a_limit_that_alpha_vantage_reports_as_a_sentence_is_an_error(
    said: dict[str, str], words: str, online: Settings, server: ProviderServer
) -> None:
    server.answer = lambda _: said
    with pytest.raises(SourceError, match=words) as caught:
        fetch(CASES["alpha_vantage"], online)
    assert KEY not in str(caught.value)
    assert len(server.requests) == (QUICK.attempts if "per minute" in words else 1)


def test_news_also_come_as_a_json_feed_and_bombs_are_refused(online: Settings, server: ProviderServer) -> None:
    item = {"id": "1", "url": "https://example.com", "title": "Apple", "date_published": "2024-01-02T09:30:00-05:00"}
    server.answer = lambda _: {"version": "https://jsonfeed.org/version/1.1", "title": "t", "items": [item]}
    frame = fetch(CASES["news"], online)
    assert frame["ts"].tolist() == [pd.Timestamp("2024-01-02 14:30", tz="UTC")]
    server.answer = lambda _: '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">]><rss>&lol;</rss>'
    with pytest.raises(MalformedError):
        fetch(CASES["news"], online)


def test_more_vintages_than_fred_allows_are_asked_for_in_parts(online: Settings, server: ProviderServer) -> None:
    def answer(request: Any) -> Any:
        since, until = request.query["realtime_start"], request.query["realtime_end"]
        if since == "1776-07-04" and until == "9999-12-31":
            words = "There are 3085 vintage dates. This exceeds the maximum number of vintage dates allowed (2000)."
            return Answer({"error_code": 400, "error_message": f"Bad Request.  {words}"}, 400)
        # FRED dates a value that stood before the window by the start of the window.
        released = "1954-08-01" if since == "1776-07-04" else since
        observations = [{"date": "1954-07-01", "value": "1.13", "realtime_start": released, "realtime_end": until}]
        return {"count": 1, "observations": observations}

    server.answer = answer
    frame = fetch(CASES["fred"], online)
    assert rows(CASES["fred"], frame) == [("A191RL1Q225SBEA", "1954-07-01", 1.13, "1954-08-01")]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("period", "ts"), [("Ene.2026", "2026-01-01"), ("T3.98", "1998-07-01"), ("2013", "2013-01-01"), ("05Set03", None)]
)
def test_periods_of_the_bcrp(period: str, ts: str | None, online: Settings, server: ProviderServer) -> None:
    server.answer = lambda _: {"config": {}, "periods": [{"name": period, "values": ["4.25"]}]}
    if ts is None:
        with pytest.raises(ChangedFormatError, match=period):
            fetch(CASES["bcrp"], online)
    else:
        assert fetch(CASES["bcrp"], online)["ts"].tolist() == [pd.Timestamp(ts, tz="UTC")]


@pytest.mark.parametrize(
    ("source", "now", "last"),
    [
        ("nasdaq_data_link", "2026-07-01T17:30-04:00", "2026-07-01"),
        ("nasdaq_data_link", "2026-07-01T15:30-04:00", "2026-06-30"),
        ("nasdaq_data_link", "2026-11-27T13:30-05:00", "2026-11-27"),  # half a day
        ("binance", "2026-07-01T17:30-04:00", "2026-06-30"),
    ],
)
def test_a_day_comes_as_soon_as_its_session_has_closed(
    source: str, now: str, last: str, online: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromisoformat(now).astimezone(tz)

    monkeypatch.setattr("lake.sources.base.datetime", Clock)
    bars = live_bars(source, online, QUICK)
    days = pd.date_range("2026-06-22", now[:10], tz="UTC")
    monkeypatch.setattr(bars, "series", lambda *_: pd.DataFrame({"ts": days, "close": 1.0}))
    assert bars.fetch(["ANY"], None, None)["ts"].max() == pd.Timestamp(last, tz="UTC")


def test_a_bar_that_is_not_over_yet_waits(online: Settings, server: ProviderServer) -> None:
    hour = INTERVALS["1h"]
    current = pd.Timestamp.now("UTC").floor("1h")
    opens = [current - hour, current]
    server.answer = lambda _: [[int(at.timestamp() * 1000), *["1"] * 5, *[0] * 6] for at in opens]
    bars = live_bars("binance", online, QUICK).fetch(["ETHUSDT"], None, None, "1h")
    assert bars[["ts", "interval", "asset_class"]].to_numpy().tolist() == [[current - hour, "1h", "crypto"]]
    with pytest.raises(ValueError, match="nasdaq_data_link has no bars of 1m"):
        live_bars("nasdaq_data_link", online, QUICK).fetch(["AAPL"], None, None, "1m")
