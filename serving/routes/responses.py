"""The errors that a route documents."""

from typing import Any

from serving.schemas import Problem

Responses = dict[int | str, dict[str, Any]]

NOT_FOUND: Responses = {404: {"model": Problem, "description": "Unknown symbol"}}
UNREADABLE: Responses = {400: {"model": Problem, "description": "No JSON"}}
INVALID: Responses = {422: {"model": Problem, "description": "Wrong parameter"}}
NOT_READY: Responses = {503: {"model": Problem, "description": "No forecasts yet"}}
DOCUMENT: Responses = {
    200: {
        "content": {"text/csv": {"schema": {"type": "string"}}},
        "headers": {
            "ETag": {"schema": {"type": "string"}, "description": "Send it back as `If-None-Match`."},
            "Last-Modified": {"schema": {"type": "string"}, "description": "When this answer was first given."},
            "Lakehouse-Degraded": {
                "schema": {"type": "string"},
                "description": "Present while the last good state is served: what is away (lake, registry) or refused "
                "(model); /readyz says more.",
            },
        },
    },
    304: {"description": "What the client has is what would be sent."},
}
