"""The least that Starlette can do: a route that returns the bytes of the file that `BARE_BODY` names."""

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BODY = Path(os.environ["BARE_BODY"]).read_bytes()


async def answer(request: Request) -> Response:
    """The same for whatever is asked."""
    return Response(BODY, media_type="application/json")


app = Starlette(routes=[Route("/v1/predictions/{symbol}", answer)])
