"""Every error as problem details (RFC 9457): what happened, where, and what to do about it; never a traceback."""

import difflib
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from serving import pages
from serving.schemas import Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
_HINTED_SYMBOLS = 10


class ProblemError(Exception):
    """An error that is answered as problem details.

    Parameters
    ----------
    extensions : further members of the document, such as `symbols`.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **extensions: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.extensions = extensions


def unknown_symbol(symbol: str, known: Collection[str]) -> ProblemError:
    """404 that hints at the nearest known symbols."""
    nearest = difflib.get_close_matches(symbol.upper(), known, n=_HINTED_SYMBOLS, cutoff=0.5)
    others = (name for name in known if name not in nearest)
    hinted = [*nearest, *others][:_HINTED_SYMBOLS]
    meant = f" Did you mean {nearest[0]}?" if nearest else ""
    return ProblemError(
        404,
        f"No forecast for the symbol '{symbol}'.{meant} GET /v1/symbols lists all {len(known)}; "
        "a series needs 252 sessions of history to be among them.",
        symbols=hinted,
    )


def not_ready(reasons: list[str]) -> ProblemError:
    """503 that says what is missing and when to ask again."""
    return ProblemError(
        503,
        "There are no forecasts to serve yet: " + "; ".join(reasons),
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        reasons=reasons,
    )


def busy(detail: str) -> ProblemError:
    """503 for what cannot be had now."""
    return ProblemError(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def invalid(location: str, errors: Mapping[str, str]) -> ProblemError:
    """422 that names every parameter of a place (query, body) that is wrong, and why."""
    return ProblemError(
        422,
        "; ".join(f"{parameter}: {detail}" for parameter, detail in errors.items()),
        errors=[{"parameter": name, "location": location, "detail": detail} for name, detail in errors.items()],
    )


def install(app: FastAPI) -> None:
    """Make the app answer every error as problem details (a page to a browser that asks for a page)."""

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return answer(request, error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        detail = {
            404: f"Nothing is served at {request.scope['path']}. The documentation is at /docs.",
            405: f"{request.method} is not allowed here.",
        }.get(error.status_code, str(error.detail))
        return _answer(request, error.status_code, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"parameter": ".".join(map(str, where[1:])), "location": str(where[0]), "detail": found["msg"]}
            for found in error.errors()
            for where in [found["loc"]]
        ]
        summary = "; ".join(f"{found['parameter']}: {found['detail']}" for found in errors)
        return _answer(request, 422, summary, None, errors=errors)


def answer(request: Request, error: ProblemError) -> Response:
    """An error as the answer of a middleware, which FastAPI's handlers do not reach."""
    return _answer(request, error.status, error.detail, error.headers, **error.extensions)


def document_in(openapi: dict[str, Any]) -> None:
    """Declare the problem media type in an OpenAPI document, where FastAPI puts `application/json`."""
    for operations in openapi["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status >= "400" and "content" in response:
                    response["content"] = {MEDIA_TYPE: response["content"].pop("application/json")}


def _answer(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None, **extensions: Any
) -> Response:
    path = request.scope["path"]
    title = HTTPStatus(status).phrase
    wants_page = "text/html" in request.headers.get("accept", "") and not path.startswith("/v1/")
    if wants_page:
        return HTMLResponse(pages.error(title, detail, request.scope.get("root_path", "")), status, headers)
    problem = Problem(title=title, status=status, detail=detail, instance=quote(path), **extensions)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE)
