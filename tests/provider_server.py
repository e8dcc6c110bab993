"""A provider on loopback: it answers as a `Case` documents, after the faults that a test has put in its way."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SLOW = 0.9  # seconds; the tests wait 0.5


@dataclass(frozen=True)
class Answer:
    """What the server sends; `cut` ends the body early, `delay` is in seconds."""

    body: Any = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False

    @property
    def content(self) -> bytes:
        text = self.body if isinstance(self.body, str) else json.dumps(self.body)
        content = text.encode()
        return content[: len(content) // 2] if self.cut else content


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


class ProviderServer:
    """Answers requests with `answer`, but those for data with `faults` first, as long as there are any."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Any] = lambda request: Answer(status=404)
        self.is_data: Callable[[Request], bool] = lambda request: True
        self.faults: list[Answer | Callable[[Any], Answer]] = []
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def respond(self, request: Request) -> Answer:
        """The answer to a request, which is noted."""
        answer = self.answer(request)
        answer = answer if isinstance(answer, Answer) else Answer(answer)
        if self.is_data(request):
            self.requests.append(request)
            if self.faults:
                fault = self.faults.pop(0)
                return fault if isinstance(fault, Answer) else fault(answer.body)
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = server.respond(Request(parts.path, dict(parse_qsl(parts.query)), headers))
                time.sleep(answer.delay)
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.content)))
                    self.end_headers()
                    self.wfile.write(answer.content)
                except OSError:
                    pass  # the client did not wait

            def log_message(self, *_: object) -> None:
                pass

        return Handler
