"""Load shedding: more than the process can answer soon is refused at once, so that what is accepted stays fast."""

import asyncio
import time
from collections import deque

from prometheus_client import Counter
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lake.api import Limits
from serving import problems
from serving.audit import audit
from serving.problems import ProblemError

OVERLOADED_SECONDS = 1
_TICK_SECONDS = 0.05
_LOOKS = 4
_WRITTEN_SECONDS = 1.0
# Whoever watches the process must be answered above all when it is overloaded.
_NEVER_SHED = frozenset({"/healthz", "/readyz", "/metrics"})


class Delay:
    """How late the event loop runs what is due: what a request waits for its turn.

    The least of the last few looks: a burst or a stalled machine is no reason to refuse anybody, a queue that stays is
    (as CoDel tells them apart).
    """

    def __init__(self) -> None:
        self._looks: deque[float] = deque([0.0] * _LOOKS, maxlen=_LOOKS)

    @property
    def seconds(self) -> float:
        """The wait that does not go away."""
        return min(self._looks)

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._looks.append(loop.time() - due)


class Load:
    """Middleware that sheds requests while too many are being answered, or wait too long for their turn."""

    def __init__(self, app: ASGIApp, limits: Limits, delay: Delay, shed: Counter) -> None:
        self.app = app
        self._limits = limits
        self._delay = delay
        self._shed = shed
        self._in_flight = 0
        self._silent = 0
        self._written_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503, or go on, for a limited time."""
        if scope["type"] != "http" or scope["path"] in _NEVER_SHED:
            await self.app(scope, receive, send)
            return
        begun = False

        async def begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self._in_flight += 1
        try:
            if self._in_flight > self._limits.in_flight:
                raise self._refusal("in_flight", "as many requests as it can are being answered")
            if self._delay.seconds > self._limits.delay_seconds:
                raise self._refusal("delay", "requests wait too long for their turn")
            async with asyncio.timeout(self._limits.answer_seconds) as clock:
                await self.app(scope, receive, begin)
        except TimeoutError:
            if not clock.expired():
                raise
            error = self._refusal("time", f"it took more than {self._limits.answer_seconds:g} s")
            if begun:
                raise error from None
            await self._answer(error, scope, receive, send)
        except ProblemError as error:
            await self._answer(error, scope, receive, send)
        finally:
            self._in_flight -= 1

    def _refusal(self, reason: str, why: str) -> ProblemError:
        self._shed.labels(reason).inc()
        return ProblemError(
            503, f"The server is too busy: {why}.", headers={"Retry-After": str(OVERLOADED_SECONDS)}, shed=reason
        )

    async def _answer(self, error: ProblemError, scope: Scope, receive: Receive, send: Send) -> None:
        if time.monotonic() - self._written_at > _WRITTEN_SECONDS:  # a flood must not become a flood of lines
            audit("shed", scope, status=error.status, reason=error.detail, others=self._silent)
            self._written_at, self._silent = time.monotonic(), 0
        else:
            self._silent += 1
        await problems.answer(Request(scope), error)(scope, receive, send)
