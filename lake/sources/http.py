"""How every provider is asked: pace, retries, circuit breaker, size limit, and errors that name provider and symbol."""

import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from pydantic import SecretStr

from lake.providers import Provider

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_UNKNOWN = re.compile(r"symbol|ticker|series|delisted|not found|no data", re.IGNORECASE)
_KEY = re.compile(r"api.?key|token|unauthori[sz]ed|not_authorized|permission|subscri", re.IGNORECASE)
_SAID = ("error_message", "msg", "message", "description", "error", "quandl_error", "chart")
_EXPLANATION_LENGTH = 300


class SourceError(RuntimeError):
    """A provider did not deliver; the message names it, the symbol and what happened, and never holds a key.

    Attributes
    ----------
    transient : whether asking again can help.
    retry_after : seconds that the provider asks us to wait; None where it does not say.
    """

    transient = False

    def __init__(self, provider: str, symbol: str, what: str, retry_after: float | None = None) -> None:
        super().__init__(f"{provider}: {symbol}: {what}")
        self.provider, self.symbol, self.what, self.retry_after = provider, symbol, what, retry_after


class UnavailableError(SourceError):
    """No connection, no answer in time, or an error of the server."""

    transient = True


class RateLimitedError(SourceError):
    """The provider asks us to wait."""

    transient = True


class MalformedError(SourceError):
    """The answer is not what was asked for: HTML, or JSON that ends early."""

    transient = True


class CircuitOpenError(SourceError):
    """The provider failed several times in a row and is left alone for a while."""


class TooLargeError(SourceError):
    """The answer is larger than any that we expect."""


class AccessError(SourceError):
    """The key is missing, wrong, or not allowed to read this."""


class UnknownSymbolError(SourceError):
    """The provider does not know the symbol."""


class ChangedFormatError(SourceError):
    """The answer lacks a field that we rely on: the provider has changed its format."""


@dataclass(frozen=True)
class Patience:
    """How long a provider is given.

    Attributes
    ----------
    attempts : requests before giving up.
    backoff : seconds before the second attempt; doubled each time, with jitter.
    longest_wait : seconds; a provider that asks for more has failed, so that the next source can be tried.
    failures : symbols in a row, each given up after its attempts, that open the circuit.
    rest : seconds for which an open circuit asks nothing.
    """

    attempts: int = 4
    backoff: float = 1.0
    longest_wait: float = 60.0
    failures: int = 3
    rest: float = 300.0


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Asks one provider. Safe for several threads.

    Parameters
    ----------
    name : of the provider, for errors.
    key_parameter, key_header : where the provider takes its key; `key_prefix` stands before it.
    """

    max_bytes = 64 * 2**20

    def __init__(
        self,
        name: str,
        provider: Provider,
        patience: Patience = Patience(),
        *,
        key_parameter: str | None = None,
        key_header: str | None = None,
        key_prefix: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.provider, self.patience = name, provider, patience
        self.base_url = provider.base_url.rstrip("/")
        self._needs_key = bool(key_parameter or key_header)
        transport = _KeyTransport(key_parameter, key_header, key_prefix, provider.key, _proxy(self.base_url))
        self._http = httpx.Client(transport=transport, timeout=provider.timeout, headers=headers)
        self._pace, self._breaker = _Pace(provider.requests_per_minute), _Breaker(patience)

    def get_json(self, path: str, symbol: str, params: Mapping[str, object] | None = None) -> Any:
        """The JSON document at `path` below the base URL. Raises `SourceError`."""
        return self.ask(symbol, lambda: self.send(path, symbol, params), self.json_of)

    def ask(self, symbol: str, send: Callable[[], Reply], parse: Callable[[Reply, str], _T]) -> _T:
        """What `parse` makes of the answer to `send`, asked again while that can help. Raises `SourceError`.

        `parse` may raise a `SourceError` itself, for providers that report errors with status 200.
        """
        if self._needs_key and self.provider.key is None:
            raise AccessError(self.name, symbol, f"no key; set LAKEHOUSE_{self.name.upper()}__KEY")
        for attempt in range(1, self.patience.attempts + 1):
            resting = self._breaker.resting()
            if resting > 0:
                raise CircuitOpenError(self.name, symbol, f"failed repeatedly, next attempt in {resting:.0f} s")
            self._pace.wait()
            try:
                reply = send()
                self._refuse_errors(reply, symbol)
                value = parse(reply, symbol)
            except SourceError as error:
                if not error.transient:
                    self._breaker.succeeded()
                    raise
                wait = self._wait_before(attempt + 1, error)
                if wait is None:
                    self._breaker.failed(error.retry_after or 0.0)
                    raise
                _log.info("%s (attempt %d of %d, next in %.1f s)", error, attempt, self.patience.attempts, wait)
                time.sleep(wait)
            else:
                self._breaker.succeeded()
                return value
        raise AssertionError("the last attempt returns or raises")

    def send(self, path: str, symbol: str, params: Mapping[str, object] | None = None) -> Reply:
        """One request, without the key of the provider in anything but the wire. Raises `SourceError`."""
        given = {name: str(value) for name, value in (params or {}).items() if value is not None}
        url = path if path.startswith(("http://", "https://")) else f"{self.base_url}/{path.lstrip('/')}"
        deadline = time.monotonic() + self.provider.timeout
        try:
            with self._http.stream("GET", url, params=given or None) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > self.max_bytes:
                        raise TooLargeError(self.name, symbol, f"answer is larger than {self.max_bytes:,} bytes")
                    if time.monotonic() > deadline:
                        raise UnavailableError(self.name, symbol, f"no answer within {self.provider.timeout:g} s")
                return Reply(response.status_code, dict(response.headers), bytes(body))
        except httpx.TimeoutException as error:
            raise UnavailableError(self.name, symbol, f"no answer within {self.provider.timeout:g} s") from error
        except httpx.HTTPError as error:
            raise UnavailableError(self.name, symbol, f"connection failed ({type(error).__name__})") from error

    def json_of(self, reply: Reply, symbol: str) -> Any:
        """The JSON document of a reply. Raises `MalformedError`."""
        head = reply.body[:200].lstrip().lower()
        if head.startswith((b"<!doctype", b"<html")):
            raise MalformedError(self.name, symbol, "answered with an HTML page instead of JSON")
        try:
            return json.loads(reply.body)
        except ValueError as error:
            raise MalformedError(self.name, symbol, f"answered with broken JSON of {len(reply.body)} bytes") from error

    def field(self, document: Any, symbol: str, *path: str | int) -> Any:
        """What stands at `path` of a JSON document. Raises `ChangedFormatError`, which says what stands there."""
        for step in path:
            try:
                document = document[step]
            except (KeyError, IndexError, TypeError) as error:
                found = ", ".join(map(str, document)) if isinstance(document, dict) else type(document).__name__
                raise ChangedFormatError(
                    self.name, symbol, f"{step!r} is missing; found {found[:_EXPLANATION_LENGTH]}"
                ) from error
        return document

    def redacted(self, text: str) -> str:
        """`text` without the key, on one line and not too long."""
        key = self.provider.key.get_secret_value() if self.provider.key else ""
        text = " ".join((text.replace(key, "***") if key else text).split())
        return text[:_EXPLANATION_LENGTH]

    def _refuse_errors(self, reply: Reply, symbol: str) -> None:
        status = reply.status
        if status < 300:
            return
        said = self._explanation(reply)
        what = f"HTTP {status}" + (f" ({said})" if said else "")
        if status in (418, 429):
            raise RateLimitedError(self.name, symbol, f"rate limit, {what}", _retry_after(reply))
        if status >= 500 or status == 408:
            raise UnavailableError(self.name, symbol, what, _retry_after(reply))
        if status < 400:
            raise SourceError(self.name, symbol, f"{what}: redirects elsewhere; is base_url right?")
        if status in (401, 403) or _KEY.search(said):
            raise AccessError(self.name, symbol, what)
        if status == 404 or _UNKNOWN.search(said):
            raise UnknownSymbolError(self.name, symbol, what)
        raise SourceError(self.name, symbol, what)

    def _explanation(self, reply: Reply) -> str:
        try:
            said: Any = json.loads(reply.body)
        except ValueError:
            return ""
        while isinstance(said, dict):
            said = next((said[name] for name in _SAID if said.get(name)), "")
        return self.redacted(str(said))

    def _wait_before(self, attempt: int, error: SourceError) -> float | None:
        if attempt > self.patience.attempts:
            return None
        wait = self.patience.backoff * 2 ** (attempt - 2) * random.uniform(0.5, 1.5)
        wait = max(wait, error.retry_after or 0.0)
        return wait if wait <= self.patience.longest_wait else None


class _KeyTransport(httpx.HTTPTransport):
    """Adds the key on the way out: httpx logs the URL that it was given, which has none."""

    def __init__(
        self, parameter: str | None, header: str | None, prefix: str, key: SecretStr | None, proxy: str | None
    ) -> None:
        super().__init__(proxy=proxy)
        self._parameter, self._header, self._prefix, self._key = parameter, header, prefix, key

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._key is not None:
            key = self._key.get_secret_value()
            url, headers = request.url, request.headers.copy()
            if self._parameter:
                url = url.copy_merge_params({self._parameter: key})
            elif self._header:
                headers[self._header] = self._prefix + key
            request = httpx.Request(
                request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
            )
        return super().handle_request(request)


class _Pace:
    """Spaces requests evenly."""

    def __init__(self, per_minute: float) -> None:
        self._interval, self._next, self._lock = 60.0 / per_minute, 0.0, threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._interval
        time.sleep(at - now)


class _Breaker:
    """Closed until `failures` symbols in a row were given up; then one is let through after each rest."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._failures, self._until = patience, 0, 0.0

    def resting(self) -> float:
        return self._until - time.monotonic()

    def succeeded(self) -> None:
        self._failures, self._until = 0, 0.0

    def failed(self, retry_after: float) -> None:
        self._failures += 1
        rest = self._patience.rest if self._failures >= self._patience.failures else 0.0
        self._until = time.monotonic() + max(rest, retry_after)


def _proxy(url: str) -> str | None:
    """The proxy of the environment for a URL; httpx looks for it only where it makes the transport itself."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _retry_after(reply: Reply) -> float | None:
    """Seconds of a Retry-After header, given as a number or as a date (RFC 9110, section 10.2.3)."""
    value = reply.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
