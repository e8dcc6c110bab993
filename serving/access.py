"""Who may ask for what: keys and tokens, their scopes, and the few paths that are open on loopback."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lake.api import LOOPBACK, TURN_ON
from lake.settings import Settings
from serving import problems
from serving.audit import audit
from serving.challenges import forbidden, unauthorized
from serving.keys import PREFIX, Keyring
from serving.problems import ProblemError
from serving.rates import Rates

if TYPE_CHECKING:
    from serving.tokens import Tokens

_OPEN_ON_LOOPBACK = frozenset({"/healthz", "/readyz", "/metrics"})
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


@dataclass(frozen=True)
class Caller:
    """Whoever has shown a key or a token.

    Attributes
    ----------
    id : `key:<id of the key>` or `token:<subject>`; never the secret.
    """

    id: str
    scopes: frozenset[str]


class Access:
    """Middleware that lets a request through when whoever sends it may; all that is not named open needs a key."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._enabled = settings.access.enabled
        self._keyring = Keyring(settings.keys_file) if self._enabled else None
        self._tokens = _tokens(settings) if self._enabled and settings.access.issuer else None
        self._rates = Rates(settings.access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403 or 429, or go on."""
        if scope["type"] == "http":
            try:
                if self._enabled:
                    await self._admit(scope)
                else:
                    _refuse_networks(scope)
            except ProblemError as error:
                audit("refused", scope, status=error.status, reason=error.detail)
                await problems.answer(Request(scope), error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in _OPEN_ON_LOOPBACK and _is_loopback(scope.get("client")) and _FORWARDED.isdisjoint(headers):
            return
        caller = scope["user"] = await self._caller(headers)
        needed = _needed(scope["method"], path)
        if needed not in caller.scopes:
            raise forbidden(caller.id, needed)
        if wait := await self._rates.seconds_to_wait(caller.id):
            raise ProblemError(
                429, f"Too many requests: go on in {wait} s, and slower.", headers={"Retry-After": str(wait)}
            )

    async def _caller(self, headers: dict[bytes, bytes]) -> Caller:
        """Whoever the credentials belong to: `X-API-Key`, a bearer token, or (browsers) a key as a password."""
        if (key := headers.get(b"x-api-key")) is not None:
            return self._of_key(key.decode("latin-1"))
        kind, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() == "basic":
            return self._of_key(_password(value.strip()))
        if kind.lower() == "bearer" and value.startswith(f"{PREFIX}_"):
            return self._of_key(value.strip())
        if kind.lower() == "bearer":
            return await self._of_token(value.strip())
        raise unauthorized(
            "A key (X-API-Key) or a token (Authorization: Bearer) is needed.",
            in_browser=b"text/html" in headers.get(b"accept", b""),
        )

    def _of_key(self, whole: str) -> Caller:
        key = self._keyring.find(whole) if self._keyring else None
        if key is None:
            raise unauthorized("The key is not valid.")
        if (state := key.state(datetime.now(UTC))) != "valid":
            raise unauthorized(f"The key {key.id} is {state}.")
        return Caller(f"key:{key.id}", key.scopes)

    async def _of_token(self, token: str) -> Caller:
        if self._tokens is None:
            raise unauthorized("Tokens are not accepted here; a key (X-API-Key) is.")
        subject, scopes = await self._tokens.verify(token)
        return Caller(f"token:{subject}", scopes)


def _tokens(settings: Settings) -> "Tokens":
    from serving.tokens import Tokens  # 9 MB of cryptography

    return Tokens(settings.access)


def _needed(method: str, path: str) -> str:
    if path == "/metrics":
        return "admin"
    return "read" if method in ("GET", "HEAD") else "predict"


def _refuse_networks(scope: Scope) -> None:
    """Without access control the request must have come in over loopback, however the server was started."""
    if not _is_loopback(scope.get("server")):
        raise ProblemError(403, f"Access control is off, so only loopback is served: {TURN_ON}.")


def _is_loopback(address: tuple[str, int | None] | None) -> bool:
    return address is not None and (address[0] in LOOPBACK or address[0].startswith("127."))


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
