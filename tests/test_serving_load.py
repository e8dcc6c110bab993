"""The API under load and in operation: limits, shedding, draining, several processes, and what is seen of it."""

import asyncio
import logging
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import FastAPI

from lake.api import Limits
from lake.settings import Settings
from serving.app import create_app
from tests.serving_kit import SESSION, eventually, make_settings, problem, serve, serving_process, session, write


@pytest.fixture
def settings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_settings(tmp_path, tmp_path_factory)
    write(settings, session("AAPL"))
    return settings


def slow_app(settings: Settings) -> FastAPI:
    """The app with a route that takes as long as it is asked to, waiting or computing."""
    app = create_app(settings)

    @app.get("/wait")
    async def wait(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "waited"

    @app.get("/compute")
    async def compute(seconds: float) -> str:
        time.sleep(seconds)
        return "computed"

    return app


def at_once(client: httpx.Client, path: str, times: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: httpx.get(f"{client.base_url}{path}", trust_env=False), range(times)))


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(settings: Settings) -> None:
    settings.limits = Limits(body_bytes=1000)
    with serve(settings) as client:
        assert "1,000 bytes" in problem(client.post("/v1/predict", content=b"x" * 1001), 413)["detail"]
        chunks = (b"x" * 500 for _ in range(3))
        problem(client.post("/v1/predict", content=chunks), 413)
        assert client.post("/v1/predict", content=b"x" * 1000).status_code not in (413, 500)


def test_ten_megabytes_change_nothing_about_the_memory(settings: Settings) -> None:
    with serve(settings) as client:
        problem(client.post("/v1/predict", content=b"x" * 10_000_000), 413)
        before = psutil.Process().memory_info().rss
        for _ in range(20):
            problem(client.post("/v1/predict", content=(b"x" * 100_000 for _ in range(100))), 413)
        assert psutil.Process().memory_info().rss - before < 20 * 2**20


def test_a_slow_body_is_given_up_and_holds_nobody_up(settings: Settings) -> None:
    settings.limits = Limits(body_seconds=0.5, in_flight=2)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with serve(settings) as client:
        address = client.base_url.host, client.base_url.port or 80
        slow = [socket.create_connection(address) for _ in range(10)]
        for connection in slow:
            connection.sendall(head)
        assert client.get("/v1/symbols").status_code == 200
        for connection in slow:
            connection.settimeout(5)
            assert connection.recv(1000).startswith(b"HTTP/1.1 408")
            connection.close()


def test_bodies_together_stay_within_their_memory(settings: Settings) -> None:
    settings.limits = Limits(body_bytes=1000, buffered_bytes=1500)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900
    with serve(settings) as client:
        address = client.base_url.host, client.base_url.port or 80
        with socket.create_connection(address) as first, socket.create_connection(address) as second:
            first.sendall(head)
            time.sleep(0.2)
            second.sendall(head)
            second.settimeout(5)
            answer = second.recv(2000)
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer.lower()
        eventually(lambda: client.post("/v1/predict", content=b"x" * 1000).status_code != 503, 5)


def test_more_than_can_be_answered_at_once_is_shed_and_the_rest_stays_fast(settings: Settings) -> None:
    settings.limits = Limits(in_flight=3)
    with serve(settings, app=slow_app(settings)) as client:
        answers = at_once(client, "/wait?seconds=0.5", 12)
        accepted = [answer for answer in answers if answer.status_code == 200]
        shed = [answer for answer in answers if answer.status_code == 503]
        assert len(accepted) == 3
        assert len(accepted) + len(shed) == 12
        assert max(answer.elapsed.total_seconds() for answer in accepted) < 1.5
        assert max(answer.elapsed.total_seconds() for answer in shed) < 0.5
        assert shed[0].headers["retry-after"] == "1"
        problem(shed[0], 503)
        assert client.get("/wait?seconds=0").status_code == 200
        metrics = client.get("/metrics").text
        assert 'http_requests_shed_total{reason="in_flight"} 9.0' in metrics


def test_while_requests_keep_waiting_for_their_turn_they_are_shed(settings: Settings) -> None:
    settings.limits = Limits(delay_seconds=0.05)
    with serve(settings, app=slow_app(settings)) as client:
        statuses: list[int] = []
        begin = time.monotonic()

        def keep_asking() -> None:
            while 503 not in statuses and time.monotonic() - begin < 30:
                statuses.append(httpx.get(f"{client.base_url}/compute?seconds=0.3", trust_env=False).status_code)

        threads = [threading.Thread(target=keep_asking) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}
        eventually(lambda: client.get("/v1/symbols").status_code == 200, 5)


def test_an_answer_that_takes_too_long_is_given_up(settings: Settings) -> None:
    settings.limits = Limits(answer_seconds=0.2)
    with serve(settings, app=slow_app(settings)) as client:
        began = time.monotonic()
        assert "0.2 s" in problem(client.get("/wait?seconds=9"), 503)["detail"]
        assert time.monotonic() - began < 2


def test_every_answer_carries_the_id_of_its_request(settings: Settings) -> None:
    with serve(settings) as client:
        assert client.get("/v1/symbols", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
        made = {client.get("/nothing").headers["x-request-id"] for _ in range(3)}
        assert len(made) == 3
        for odd in ("a b", "x" * 65, "{}", ""):
            assert client.get("/v1/symbols", headers={"X-Request-ID": odd}).headers["x-request-id"] != odd


def test_what_fails_is_logged_under_the_id_that_the_client_is_told(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)

    @app.get("/fail")
    async def fail() -> str:
        raise RuntimeError("a detail that stays here")

    with caplog.at_level(logging.ERROR), serve(settings, app=app) as client:
        answer = client.get("/fail", headers={"X-Request-ID": "abc"})
    assert "a detail" not in answer.text
    problem(answer, 500)
    assert answer.headers["x-request-id"] == "abc"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a detail that stays here"]


def test_what_was_begun_is_finished_before_the_server_stops(settings: Settings) -> None:
    with serving_process(settings) as served:
        address = served.client.base_url.host, served.client.base_url.port or 80
        with socket.create_connection(address) as connection:
            connection.sendall(
                b"POST /v1/symbols HTTP/1.1\r\nHost: x\r\nX-Request-ID: last\r\nContent-Length: 2\r\n\r\n{"
            )
            time.sleep(0.3)
            served.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{served.client.base_url}/healthz", trust_env=False)
            connection.sendall(b"}")
            connection.settimeout(5)
            answer = connection.recv(2000)
            assert answer.startswith(b"HTTP/1.1 405")
            assert b"x-request-id: last" in answer
        assert served.process.wait(15) == 0
        assert [line for line in served.lines() if line["level"] in ("error", "critical")] == []


def test_several_processes_answer_alike_add_up_and_are_replaced_when_they_die(settings: Settings) -> None:
    with serving_process(settings, API_WORKERS="2") as served, socket.socket() as slow:
        slow.connect((served.client.base_url.host, served.client.base_url.port or 80))
        slow.sendall(b"GET /v1/symbols HTTP/1.1\r\nHost: x\r\nX-Slow: ")  # a head that never ends is given up
        assert len(served.workers()) == 2
        seen: list[tuple[float, str]] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():  # a connection each, so that both processes are asked
                answer = httpx.get(f"{served.client.base_url}/v1/predictions/AAPL", trust_env=False)
                seen.append((time.monotonic(), answer.json()["as_of"]))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        write(settings, session("AAPL", as_of=SESSION + timedelta(days=1)))
        time.sleep(3)
        done.set()
        asking.join()
        assert {as_of for _, as_of in seen} == {"2022-12-28T00:00:00Z", "2022-12-29T00:00:00Z"}
        first_new = min(at for at, as_of in seen if "29" in as_of)
        assert max(at for at, as_of in seen if "28" in as_of) - first_new < 1.5

        def counted() -> float:
            route = r'http_requests_total\{method="GET",route="/v1/predictions/\{symbol\}",status="200"\} (\S+)'
            found = re.search(route, served.client.get("/metrics").text)
            return float(found[1]) if found else 0

        assert counted() == len(seen)
        victim = served.workers()[0]
        victim.kill()
        eventually(lambda: len([one for one in served.workers() if one.pid != victim.pid]) == 2, 20)
        slow.settimeout(15)
        with suppress(ConnectionResetError):  # of the process that was killed
            assert slow.recv(1000) == b""


def test_the_server_killed_takes_its_workers_with_it_and_its_log_is_json(settings: Settings) -> None:
    with serving_process(settings) as served:
        served.client.post("/v1/predict", content=b"x" * 2_000_000, headers={"X-Request-ID": "large"})
        workers = served.workers()
        served.process.kill()
        psutil.wait_procs(workers, timeout=15)
        assert not any(worker.is_running() for worker in workers)
        audited = [line for line in served.lines() if line["logger"] == "audit"]
        assert [(line["message"], line["status"], line["request_id"]) for line in audited] == [
            ("refused", 413, "large")
        ]


def test_the_shortest_way_answers_as_the_route_does(settings: Settings) -> None:
    with serve(settings) as client:
        for symbol in ("AAPL", "aapl"):
            short = client.get(f"/v1/predictions/{symbol}")
            routed = client.get(f"/v1/predictions/{symbol}", headers={"Accept": "application/json, text/plain"})
            assert short.content == routed.content
            own = {"date", "server", "x-request-id"}
            assert {name: short.headers[name] for name in routed.headers if name not in own} == {
                name: routed.headers[name] for name in routed.headers if name not in own
            }
        problem(client.get("/v1/predictions/NONE"), 404)
