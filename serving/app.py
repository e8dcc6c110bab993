"""The HTTP API: its routes and middlewares wired. Start it with `uvicorn serving.app:create_app --factory`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.staticfiles import StaticFiles

from lake.settings import Settings, get_settings
from serving import documented, problems
from serving.access import Access
from serving.bodies import Bodies
from serving.features import StoredFeatures
from serving.files import PublicFolder
from serving.history import PastForecasts
from serving.load import Delay, Load
from serving.metrics import build_metrics
from serving.precomputed import Precomputed
from serving.requests import Requests
from serving.routes import forecasts, history, models, operation, predict, site
from serving.state import ServingState

_DESCRIPTION = """
The newest forecasts of the lakehouse, each with calibrated intervals, the model version that made it and the versions
of the lake tables it was computed from. Times are UTC. Errors are problem details (RFC 9457).
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application over the lake and the registry of `settings` (default: of the environment)."""
    settings = settings or get_settings()
    state, delay = ServingState(settings), Delay()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        watching = asyncio.create_task(delay.watch())
        yield
        watching.cancel()
        state.stop()

    app = FastAPI(
        title="Asset lakehouse",
        description=_DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.serving = state
    app.state.features = StoredFeatures(settings)
    app.state.past = PastForecasts(settings)
    app.state.reports = PublicFolder(settings.reports_uri, settings)
    app.state.catalog = PublicFolder(settings.catalog_uri, settings)
    app.state.metrics, metrics = build_metrics(state)
    app.add_middleware(Load, limits=settings.limits, delay=delay, shed=metrics.shed)  # the innermost comes first
    app.add_middleware(Bodies, limits=settings.limits)
    app.add_middleware(Precomputed, state=state)  # to answer takes no longer than to refuse
    app.add_middleware(Access, settings=settings)
    app.add_middleware(Requests, metrics=metrics)
    problems.install(app)
    for routes in (forecasts, history, predict, models, operation, site):
        app.include_router(routes.router)
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_swagger", "resources")]))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        problems.document_in(app.openapi_schema)
        documented.document_in(app.openapi_schema, app.state.settings.access.enabled)
    return app.openapi_schema
