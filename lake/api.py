"""Settings of the HTTP API: who may ask, and how much of it at once."""

from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, model_validator

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
TURN_ON = "set LAKEHOUSE_ACCESS__ENABLED=true (docs/serving.md says how)"
ScopeName = Literal["read", "predict", "admin"]
SCOPES: tuple[ScopeName, ...] = get_args(ScopeName)


class ExposedError(RuntimeError):
    """The API would be open to a network; the message names the setting that closes it."""


class Access(BaseModel):
    """Who may ask the API; `LAKEHOUSE_ACCESS__ENABLED=true` sets the field `enabled`."""

    enabled: bool = Field(default=False, description="Ask for a key or a token; must be on off loopback.")
    keys_file: str = Field(default="", description="File of the API keys' hashes; empty: `<home>/keys.json`.")
    rate_limit: str = Field(
        default="6000/minute",
        pattern=r"^([1-9]\d*/(second|minute|hour|day))?$",
        description="Requests of one key, as `100/second` or `6000/minute`; empty: no limit.",
    )
    redis_url: SecretStr = Field(
        default=SecretStr(""), description="Redis that counts them for all processes; empty: each counts for itself."
    )
    issuer: str = Field(default="", description="`iss` of the tokens (JWT) that are taken; empty: none is.")
    audience: str = Field(default="", description="`aud` that they must be for.")
    jwks_url: str = Field(default="", description="Where the issuer publishes its public keys.")
    roles_claim: str = Field(default="roles", description="Claim that lists roles; `realm_access.roles` looks deeper.")
    roles: dict[str, frozenset[ScopeName]] = Field(
        default={
            "reader": frozenset({"read"}),
            "analyst": frozenset({"read", "predict"}),
            "operator": frozenset(SCOPES),
        },
        description="Scopes of each role, as JSON.",
    )

    @model_validator(mode="after")
    def _tokens_are_verified_against_all_of_it(self) -> "Access":
        given = [bool(self.issuer), bool(self.audience), bool(self.jwks_url)]
        if any(given) and not all(given):
            raise ValueError("issuer, audience and jwks_url belong together: set all or none")
        url = urlsplit(self.jwks_url)
        if url.scheme not in ("", "https") and not (url.scheme == "http" and url.hostname in LOOPBACK):
            raise ValueError("jwks_url must be https: whoever can change the keys can sign tokens")
        return self


def refuse_exposure(host: str, access: Access) -> None:
    """Make sure that a network is served with access control only.

    Raises
    ------
    ExposedError : the address is not of loopback, and access control is off.
    """
    if not access.enabled and host not in LOOPBACK:
        raise ExposedError(
            f"LAKEHOUSE_HOST={host} would open the API to everybody who reaches this machine: {TURN_ON}, or keep it on "
            "127.0.0.1"
        )


class Limits(BaseModel):
    """How much the API takes on at once; `LAKEHOUSE_LIMITS__IN_FLIGHT=...` sets the field `in_flight`."""

    body_bytes: int = Field(default=2**20, ge=0, description="Largest body of a request.")
    buffered_bytes: int = Field(default=32 * 2**20, ge=0, description="Bodies that are being received, all together.")
    body_seconds: float = Field(default=10, gt=0, description="Time that a client has to send its body.")
    answer_seconds: float = Field(default=30, gt=0, description="Time after which an answer is given up.")
    in_flight: int = Field(default=64, ge=1, description="Requests that are answered at once, a process.")
    delay_seconds: float = Field(default=0.5, gt=0, description="Longest wait for its turn before requests are shed.")
