"""Settings of the mail server that notifications go out by."""

from email.utils import getaddresses
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, model_validator


class Smtp(BaseModel):
    """A mail server; `LAKEHOUSE_SMTP__HOST=...` sets the field `host`."""

    host: str = Field(default="", description="Name of the server; empty: no mail is sent.")
    port: int = Field(default=587, ge=1, le=65535, description="Port: 587 for STARTTLS, 465 for TLS.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`starttls`, `tls` from the first byte, or `none` on a network of one's own."
    )
    user: str = Field(default="", description="Name to log in with; empty: no login.")
    password: SecretStr = Field(default=SecretStr(""), description="Password of that user.")
    sender: str = Field(default="", description="Address that the mail comes from.")
    recipients: str = Field(default="", description="Comma-separated addresses that it goes to.")

    @model_validator(mode="after")
    def _can_be_sent(self) -> "Smtp":
        if self.host:
            for name in ("sender", "recipients"):
                text = getattr(self, name)
                addresses = [address for _, address in getaddresses([text])]
                if not text.isprintable() or not addresses or not all("@" in address for address in addresses):
                    raise ValueError(f"with a host, {name} must hold mail addresses; it is {text!r}")
        return self
