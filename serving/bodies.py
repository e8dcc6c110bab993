"""Bodies of requests: received whole before anything works on them, within limits of size, time and memory."""

import asyncio

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lake.api import Limits
from serving import problems
from serving.audit import audit
from serving.load import OVERLOADED_SECONDS
from serving.problems import ProblemError

_CLOSE = {"Connection": "close"}


class ClientGoneError(Exception):
    """The client hung up before its body was complete."""


class Bodies:
    """Middleware that receives the body. A slow client waits here, where it holds no more than what it has sent."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self._limits = limits
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 408, 413 or 503, or go on with the body."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    await self._receive(scope, receive, parts)
            except TimeoutError as error:
                raise ProblemError(
                    408, f"The body did not arrive within {self._limits.body_seconds:g} s.", headers=_CLOSE
                ) from error
            await self.app(scope, _replay(b"".join(parts), receive), send)
        except ClientGoneError:
            return
        except ProblemError as error:
            audit("refused", scope, status=error.status, reason=error.detail)
            await problems.answer(Request(scope), error)(scope, receive, send)
        finally:
            self._buffered -= sum(map(len, parts))

    async def _receive(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limits.body_bytes:
            raise self._too_large()
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            size += len(part)
            if size > self._limits.body_bytes:
                raise self._too_large()
            if self._buffered + len(part) > self._limits.buffered_bytes:
                raise ProblemError(
                    503,
                    "Too many bodies are being received.",
                    headers={**_CLOSE, "Retry-After": str(OVERLOADED_SECONDS)},
                )
            parts.append(part)
            self._buffered += len(part)
            more = message.get("more_body", False)

    def _too_large(self) -> ProblemError:
        return ProblemError(413, f"A body may have {self._limits.body_bytes:,} bytes.", headers=_CLOSE)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
