"""Load on a server: by wrk or, without it, by a few lines of asyncio; and a load that reads every answer."""

import asyncio
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """What a server did: requests a second, the slowest hundredth in milliseconds, answers that were none."""

    per_second: float
    p99: float
    failed: int


@dataclass(frozen=True)
class Question:
    """A request that is sent again and again; with a body it is a POST of JSON."""

    url: str
    headers: Mapping[str, str]
    body: bytes = b""


def ask(question: Question, clients: int, seconds: float) -> Load:
    """So many clients, each of which asks again as soon as it is answered."""
    if shutil.which("wrk") is None:
        return asyncio.run(_ask(question, clients, seconds))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if question.body:
            script.write(f'wrk.method = "POST"\nwrk.body = [==[{question.body.decode()}]==]\n')
            script.flush()
        headers = [f"-H{name}: {value}" for name, value in question.headers.items()]
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--latency", f"-s{script.name}", *headers]
        said = subprocess.run([*command, question.url], capture_output=True, text=True, check=True).stdout
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if rate is None or p99 is None:
        raise RuntimeError(f"wrk did not measure anything:\n{said}")
    return Load(float(rate[1]), float(p99[1]) * _UNITS[p99[2]], int(failed[1]) if failed else 0)


def ask_and_read(question: Question, clients: int, requests: int, accept: Callable[[int, bytes], bool]) -> int:
    """Ask so many times and let `accept` judge each status and body; how many it did not accept."""

    async def everybody() -> int:
        left = [requests]

        def more() -> bool:
            left[0] -= 1
            return left[0] >= 0

        judged = await asyncio.gather(*(_client(question, more, accept) for _ in range(clients)))
        return sum(failed for _, failed in judged)

    return asyncio.run(everybody())


async def _ask(question: Question, clients: int, seconds: float) -> Load:
    until = time.perf_counter() + seconds
    judged = await asyncio.gather(
        *(
            _client(question, lambda: time.perf_counter() < until, lambda status, _: status < 400)
            for _ in range(clients)
        )
    )
    times = sorted(taken for found, _ in judged for taken in found)
    return Load(len(times) / seconds, times[int(len(times) * 0.99)] * 1e3, sum(failed for _, failed in judged))


async def _client(
    question: Question, more: Callable[[], bool], accept: Callable[[int, bytes], bool]
) -> tuple[list[float], int]:
    url = urlsplit(question.url)
    kind = "POST" if question.body else "GET"
    lines = [f"{kind} {url.path} HTTP/1.1", f"Host: {url.netloc}", f"Content-Length: {len(question.body)}"]
    lines += [f"{name}: {value}" for name, value in question.headers.items()]
    sent = "\r\n".join([*lines, "", ""]).encode() + question.body
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    times, failed = [], 0
    while more():
        began = time.perf_counter()
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        times.append(time.perf_counter() - began)
        failed += not accept(int(head[9:12]), body)
    writer.close()
    return times, failed
