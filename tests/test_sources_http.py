"""The client behind all providers: waiting as told, giving up in time, leaving a broken provider alone."""

import logging
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from pydantic import SecretStr, ValidationError

from lake.providers import Provider, parse_sources
from lake.settings import Settings, get_settings
from lake.sources.http import (
    CircuitOpenError,
    Client,
    MalformedError,
    Patience,
    RateLimitedError,
    SourceError,
    TooLargeError,
    UnavailableError,
)
from tests.provider_server import Answer, ProviderServer

QUICK = Patience(attempts=2, backoff=0.01, failures=2, rest=0.2)


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    server = ProviderServer()
    server.answer = lambda _: {"ok": True}
    yield server
    server.close()


def client(server: ProviderServer, patience: Patience = QUICK, **settings: object) -> Client:
    values = {"base_url": server.url, "requests_per_minute": 1e6, "timeout": 0.5} | settings
    return Client("acme", Provider.model_validate(values), patience)


def test_it_waits_as_long_as_retry_after_says(server: ProviderServer) -> None:
    acme = client(server)
    server.faults = [Answer(status=429, headers={"Retry-After": "1"})]
    began = time.monotonic()
    assert acme.get_json("x", "A") == {"ok": True}
    assert 1 <= time.monotonic() - began < 2
    server.faults = [Answer(status=503, headers={"Retry-After": formatdate(time.time() + 2, usegmt=True)})]
    began = time.monotonic()
    assert acme.get_json("x", "A") == {"ok": True}
    assert 0.9 <= time.monotonic() - began < 3


def test_it_does_not_wait_longer_than_its_patience_and_remembers_why(server: ProviderServer) -> None:
    acme = client(server)
    server.faults = [Answer({"msg": "banned"}, 418, {"Retry-After": "3600"})]
    with pytest.raises(RateLimitedError, match=r"acme: A: rate limit, HTTP 418 \(banned\)") as caught:
        acme.get_json("x", "A")
    assert caught.value.retry_after == 3600
    with pytest.raises(CircuitOpenError, match="next attempt in 3"):
        acme.get_json("x", "B")
    assert len(server.requests) == 1


def test_the_circuit_opens_after_failures_in_a_row_and_one_request_tries_it_again(server: ProviderServer) -> None:
    acme = client(server)
    server.faults = [Answer(status=500)] * 6
    for symbol in "AB":
        with pytest.raises(UnavailableError):
            acme.get_json("x", symbol)
    with pytest.raises(CircuitOpenError):
        acme.get_json("x", "C")
    assert len(server.requests) == 4
    time.sleep(0.25)
    with pytest.raises(UnavailableError):  # the provider is still down: one symbol finds out, the next rests
        acme.get_json("x", "D")
    with pytest.raises(CircuitOpenError):
        acme.get_json("x", "E")
    time.sleep(0.25)
    assert acme.get_json("x", "F") == {"ok": True}


def test_requests_keep_their_pace(server: ProviderServer) -> None:
    acme = client(server, requests_per_minute=1200)
    began = time.monotonic()
    for _ in range(5):
        acme.get_json("x", "A")
    assert time.monotonic() - began >= 4 * 0.05


def test_an_answer_without_end_is_cut_off(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "max_bytes", 10_000)
    server.answer = lambda _: Answer("x" * 20_000)
    with pytest.raises(TooLargeError, match="larger than 10,000 bytes"):
        client(server).get_json("x", "A")


def test_a_redirect_is_not_followed_with_our_key(server: ProviderServer) -> None:
    server.answer = lambda _: Answer(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
    with pytest.raises(SourceError, match="redirects elsewhere"):
        client(server).get_json("x", "A")


def test_a_server_that_is_not_there_is_unavailable(server: ProviderServer) -> None:
    acme = client(server)
    server.close()
    with pytest.raises(UnavailableError, match=r"acme: A: connection failed \(ConnectError\)"):
        acme.get_json("x", "A")


def test_a_broken_answer_names_its_size(server: ProviderServer) -> None:
    server.answer = lambda _: Answer('{"a": [1, 2', 200)
    with pytest.raises(MalformedError, match="broken JSON of 11 bytes"):
        client(server).get_json("x", "A")


def test_a_key_in_the_query_is_in_no_log_and_no_traceback(
    server: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider(base_url=server.url, requests_per_minute=1e6, key=SecretStr("s3cret"))
    acme = Client("acme", provider, QUICK, key_parameter="apikey")
    server.answer = lambda _: Answer({"error": "s3cret is not a key"}, 500)
    with caplog.at_level(logging.DEBUG), pytest.raises(UnavailableError) as caught:
        acme.get_json("x", "A", {"function": "F"})
    assert server.requests[0].query == {"function": "F", "apikey": "s3cret"}
    assert "*** is not a key" in str(caught.value)
    assert "s3cret" not in caplog.text + repr(caught.value) + repr(caught.value.__cause__) + repr(provider)


def test_providers_are_set_one_field_at_a_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_POLYGON__KEY", "k")
    monkeypatch.setenv("LAKEHOUSE_FRED__SERIES", "GDPC1, DGS10")
    polygon, fred = get_settings().polygon, get_settings().fred
    assert polygon.key is not None
    assert (polygon.key.get_secret_value(), polygon.base_url) == ("k", settings.polygon.base_url)
    assert fred.codes == ("GDPC1", "DGS10")
    monkeypatch.setenv("LAKEHOUSE_POLYGON__REQUESTS_PER_MINUTE", "0")
    with pytest.raises(ValidationError, match=r"polygon\.requests_per_minute"):
        get_settings()


def test_sources_are_listed_by_symbol() -> None:
    assert parse_sources("aapl, MSFT: Yahoo, polygon, yahoo; BTCUSDT: binance;") == {
        "AAPL": ("yahoo", "polygon"),
        "MSFT": ("yahoo", "polygon"),
        "BTCUSDT": ("binance",),
    }
    for text, problem in (("AAPL", "not of the form"), ("AAPL:", "not of the form"), ("A: x; A: y", "named twice")):
        with pytest.raises(ValueError, match=problem):
            parse_sources(text)
