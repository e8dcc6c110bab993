"""The outermost layer: every request gets an id, its place in the metrics, headers, and never a traceback."""

import itertools
import logging
import re
import secrets
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import problems
from serving.headers import security_headers
from serving.logs import REQUEST_ID
from serving.metrics import RequestMetrics
from serving.problems import ProblemError

_SLOW_SECONDS = 1.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_FAILED = ProblemError(500, "The server failed to answer. Its log says why, under the id of this request.")

logger = logging.getLogger(__name__)


class Requests:
    """Middleware around all others."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self._metrics = metrics
        self._numbers = itertools.count()
        self._process = secrets.token_hex(6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on, and observe how it ends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        base = scope.get("root_path", "")
        request_id = self._id(scope)
        REQUEST_ID.set(request_id.decode())
        added = [*security_headers(scope["path"].removeprefix(base)), (b"x-request-id", request_id)]
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        started = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self.app(scope, receive, observed)
        except Exception:
            logger.exception("unexpected")
            if status:  # what was begun cannot be taken back
                raise
            await problems.answer(Request(scope), _FAILED)(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - started
            self._metrics.in_flight.dec()
            # Labels are from closed sets: a client cannot make new time series by asking for odd paths.
            mounted = scope.get("root_path", "").removeprefix(base)
            route = getattr(scope.get("route"), "path", mounted or "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.observe(method, route, status or 500, seconds)
            if seconds > _SLOW_SECONDS:
                logger.warning("slow", extra={"method": method, "route": route, "seconds": round(seconds, 3)})

    def _id(self, scope: Scope) -> bytes:
        """The client's `X-Request-ID` where it is one, else a new one."""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _ID.fullmatch(value):
                return bytes(value)
        return b"%s-%x" % (self._process.encode(), next(self._numbers))
