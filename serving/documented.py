"""What the layers around the routes may answer, and which credentials they take, added to the OpenAPI document."""

from typing import Any

from serving.problems import MEDIA_TYPE

Answers = dict[str, tuple[str, dict[str, Any]]]
"""Description and headers of an answer, by status."""

_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "What would be accepted.", "schema": {"type": "string"}}}
_OF_ALL: Answers = {"503": ("Too busy, or nothing to serve yet", _RETRY_AFTER)}
_OF_BODIES: Answers = {"408": ("The body came too slowly", {}), "413": ("The body is too large", {})}
_OF_ACCESS: Answers = {
    "401": ("No valid key or token", _CHALLENGE),
    "403": ("Without the scope that this needs", _CHALLENGE),
    "429": ("Too many requests of this key", _RETRY_AFTER),
}
_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "`lakehouse keys add` makes one."},
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "OAuth2 access token."},
}
_OPEN = ("/healthz", "/readyz")


def document_in(openapi: dict[str, Any], with_access: bool) -> None:
    """Add to each operation what may be answered before its route is reached."""
    if with_access:
        openapi["components"]["securitySchemes"] = _SCHEMES
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            answers = dict(_OF_ALL) if path not in _OPEN else {}
            if "requestBody" in operation:
                answers |= _OF_BODIES
            if with_access:
                answers |= _OF_ACCESS
                operation["security"] = [{name: []} for name in _SCHEMES] + ([{}] if path in _OPEN else [])
            for status, (description, headers) in answers.items():
                response = operation["responses"].setdefault(status, {"description": description})
                response["headers"] = response.get("headers", {}) | headers
                response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
