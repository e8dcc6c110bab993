"""The audit log: a line for each decision that matters, with who and what for, without secrets and payload."""

import logging
from typing import Any

from starlette.types import Scope

logger = logging.getLogger("audit")


def audit(decision: str, scope: Scope | None = None, **facts: Any) -> None:
    """Write the line of a decision.

    Parameters
    ----------
    decision : `refused`, `limited`, `shed`, ...
    scope : of the request that it was made for; its method, path, client and whoever asks are added.
    facts : what else one needs to understand it. Never a key, a token, a header or a body.
    """
    if scope is not None:
        client = scope.get("client")
        facts = {
            "method": scope["method"],
            "path": scope["path"][:200],
            "client": client[0] if client else None,
            "who": getattr(scope.get("user"), "id", None),
            **facts,
        }
    logger.info(decision, extra=facts)
