"""OAuth2 access tokens (JWT): verified against the issuer's published keys, their roles turned into scopes."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jwt

from lake.api import SCOPES, Access
from serving.challenges import unauthorized
from serving.problems import ProblemError

# Signatures with a key pair only: what verifies a token must not be able to sign one, so neither HS256 nor `none`.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_LEEWAY_SECONDS = 30
# How long a published key is trusted after it was last seen, and how often an unknown one may make us look again.
_KEYS_SECONDS = 300
_COOLDOWN_SECONDS = 5
_VERIFIED_SECONDS = 30
_VERIFIED_TOKENS = 1024


class Tokens:
    """Verifies tokens; one that was verified is not verified again for half a minute."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._keys = jwt.PyJWKClient(
            access.jwks_url, lifespan=_KEYS_SECONDS, timeout=5, cooldown_duration=_COOLDOWN_SECONDS
        )
        self._verified: OrderedDict[bytes, tuple[float, str, frozenset[str]]] = OrderedDict()

    async def verify(self, token: str) -> tuple[str, frozenset[str]]:
        """Subject and scopes of a token.

        Raises
        ------
        ProblemError : its form, signature, issuer, audience or time is not right (401), or the issuer's keys cannot
            be had (503).
        """
        fingerprint = hashlib.sha256(token.encode()).digest()
        until, subject, scopes = self._verified.get(fingerprint, (0.0, "", frozenset()))
        if time.time() < until:
            return subject, scopes
        claims = await asyncio.to_thread(self._claims, token)
        subject, scopes = str(claims["sub"]), self._scopes(claims)
        until = min(float(claims["exp"]), time.time() + _VERIFIED_SECONDS)
        self._verified[fingerprint] = until, subject, scopes
        if len(self._verified) > _VERIFIED_TOKENS:
            self._verified.popitem(last=False)
        return subject, scopes

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            return jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                issuer=self._access.issuer,
                audience=self._access.audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise ProblemError(
                503,
                "The keys of the tokens' issuer cannot be had now.",
                headers={"Retry-After": str(_COOLDOWN_SECONDS)},
            ) from error
        except (jwt.PyJWTError, ValueError) as error:
            raise unauthorized(_reason(error), error="invalid_token") from error

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Those of the standard claim `scope`, and those of its roles."""
        roles: Any = claims
        for part in self._access.roles_claim.split("."):
            roles = roles.get(part) if isinstance(roles, Mapping) else None
        granted = set(str(claims.get("scope", "")).split()) & set(SCOPES)
        for role in roles if isinstance(roles, list) else ():
            granted |= self._access.roles.get(str(role), frozenset())
        return frozenset(granted)


def _reason(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "The token has expired."
        case jwt.InvalidAudienceError():
            return "The token is for another audience."
        case jwt.InvalidIssuerError():
            return "The token is of another issuer."
        case _:
            return "The token is not valid."
