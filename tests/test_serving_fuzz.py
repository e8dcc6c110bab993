"""The API against everything that a client may send: whatever the OpenAPI document allows, and what it does not."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lake.settings import Settings
from tests.serving_kit import Served, make_settings, serving_process, session, write, write_features

MIB = 2**20
fuzz = hypothesis_settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_settings(tmp_path_factory.mktemp("fuzz"), tmp_path_factory)
    write(settings, session("AAPL", "BRK/B", "ÑANDÚ"))
    write_features(settings, "AAPL")
    return settings


@pytest.fixture(scope="module")
def served(home: Settings) -> Iterator[Served]:
    """A server of its own, that must be as it was in the end."""
    with serving_process(home) as served:
        yield served
        assert served.client.get("/readyz").status_code == 200
        assert [line for line in served.lines() if line["level"] in ("error", "critical")] == []


def answered(response: httpx.Response) -> None:
    """Whatever it is, it is an answer, and tells nothing about the inside."""
    assert response.status_code < 500, response.text
    assert "Traceback" not in response.text
    if response.status_code >= 400 and response.content:
        assert response.headers["content-type"].startswith("application/problem+json")


@fuzz
@given(st.text(max_size=100))
@example("../../etc/passwd")
@example("\x00")
@example("AAPL\r\nX-Injected: 1")
@example("🙂" * 50)
@example("%s%n{0}${jndi}' OR 1=1 --")
def test_any_symbol_is_answered(served: Served, symbol: str) -> None:
    path = quote(symbol, safe="", errors="surrogatepass")
    for place in (f"/v1/predictions/{path}", f"/v1/predictions?symbols={path}", f"/reports/{path}", f"/{path}"):
        answered(served.client.get(place, follow_redirects=False))


@fuzz
@given(
    st.binary(max_size=300),
    st.sampled_from(["application/json", "text/plain", "multipart/form-data", "", "x/y;charset=?"]),
)
@example(b'{"a":' * 50, "application/json")
@example(b"[" * 300, "application/json")
@example(b'{"cases": [{"features": {"x": [1e999, NaN, -Infinity]}}]}', "application/json")
def test_any_body_is_answered(served: Served, body: bytes, kind: str) -> None:
    answered(served.client.post("/v1/predict", content=body, headers={"Content-Type": kind}))


HEADERS = (
    "Accept",
    "If-None-Match",
    "If-Modified-Since",
    "X-Request-ID",
    "X-API-Key",
    "Authorization",
    "Range",
    "Cookie",
)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)


@fuzz
@given(st.sampled_from(HEADERS), PRINTABLE)
@example("If-Modified-Since", "Tue, 99 Foo 2026 99:99:99 GMT")
@example("Authorization", "Basic " + "A" * 5000)
@example("Cookie", "x" * 20_000)
def test_any_header_is_answered(served: Served, name: str, value: str) -> None:
    answered(served.client.get("/v1/predictions/AAPL", headers={name: value.strip()}))


def test_deep_and_large_json_is_answered_and_the_memory_stays(served: Served) -> None:
    worker = served.workers()[0]
    deep, wide = b"[" * 400_000, b'{"cases":[' + b"1," * 400_000 + b"1]}"
    for body in (deep, wide):
        answered(served.client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"}))
    before = psutil.Process(worker.pid).memory_info().rss
    for body in (deep, wide, b"x" * 10_000_000) * 3:
        answered(served.client.post("/v1/predict", content=body, headers={"Content-Type": "application/json"}))
    assert psutil.Process(worker.pid).memory_info().rss - before < 40 * MIB
