"""The errors that a route documents."""

from typing import Any

from serving.schemas import Problem

Responses = dict[int | str, dict[str, Any]]

NOT_FOUND: Responses = {404: {"model": Problem, "description": "Unknown symbol"}}
UNREADABLE: Responses = {400: {"model": Problem, "description": "No JSON"}}
INVALID: Responses = {422: {"model": Problem, "description": "Wrong parameter"}}
NOT_READY: Responses = {503: {"model": Problem, "description": "No forecasts yet"}}
