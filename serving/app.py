"""The HTTP API: routes and their wiring. Start it with `uvicorn serving.app:create_app --factory`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.staticfiles import StaticFiles

from lake.settings import Settings, get_settings
from serving import pages, problems
from serving.files import PublicFolder
from serving.metrics import RequestMetrics, build_registry
from serving.schemas import (
    ChampionVersion,
    Health,
    Prediction,
    Predictions,
    PredictionsQuery,
    Problem,
    Readiness,
    RegisteredModel,
    RegisteredModels,
    Symbols,
    SymbolSummary,
)
from serving.state import ServingState, Snapshot

_DESCRIPTION = """
The newest forecasts of the lakehouse, each with calibrated intervals, the model version that made it and the versions
of the lake tables it was computed from. Times are UTC. Errors are problem details (RFC 9457).
"""
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Unknown symbol"}}
_INVALID: dict[int | str, dict[str, Any]] = {422: {"model": Problem, "description": "Wrong parameter"}}
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": Problem, "description": "No forecasts yet"}}


def _state(request: Request) -> ServingState:
    state: ServingState = request.app.state.serving
    return state


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _snapshot(request: Request) -> Snapshot:
    state = _state(request)
    snapshot = state.snapshot
    if snapshot is None or not snapshot.predictions:
        raise problems.not_ready(state.reasons())
    return snapshot


SnapshotDep = Annotated[Snapshot, Depends(_snapshot)]

api = APIRouter()
site = APIRouter(include_in_schema=False)


@api.get(
    "/v1/predictions/{symbol}",
    response_model=Prediction,
    responses=_NOT_FOUND | _INVALID | _NOT_READY,
    tags=["forecasts"],
    summary="Newest forecasts of one symbol",
)
async def get_prediction(
    snapshot: SnapshotDep,
    symbol: Annotated[str, Path(max_length=64, description="Upper or lower case.", examples=["AAPL"])],
) -> Response:
    """The newest forecast of each target, by the champion of its model where it has made one."""
    return Response(_documents(snapshot, [symbol])[0], media_type="application/json")


@api.get(
    "/v1/predictions",
    response_model=Predictions,
    responses=_NOT_FOUND | _INVALID | _NOT_READY,
    tags=["forecasts"],
    summary="Newest forecasts of several symbols, or of all",
)
async def list_predictions(snapshot: SnapshotDep, query: Annotated[PredictionsQuery, Query()]) -> Response:
    """All from one state of the lake, in the order of asking. One unknown symbol makes the answer a 404."""
    documents = _documents(snapshot, query.names() or list(snapshot.predictions))
    return Response(b'{"predictions":[' + b",".join(documents) + b"]}", media_type="application/json")


@api.get("/v1/symbols", responses=_NOT_READY, tags=["forecasts"], summary="Symbols that have forecasts")
async def list_symbols(snapshot: SnapshotDep) -> Symbols:
    """Every symbol with its newest session and its targets."""
    return Symbols(
        symbols=[
            SymbolSummary(
                symbol=symbol,
                as_of=found.as_of,
                last_price=found.last_price,
                targets=[forecast.target for forecast in found.forecasts],
            )
            for symbol, found in snapshot.predictions.items()
        ]
    )


@api.get("/v1/models", responses=_NOT_READY, tags=["models"], summary="Champions and the versions served")
async def list_models(snapshot: SnapshotDep) -> RegisteredModels:
    """The registry's champions, as last read, beside the versions whose forecasts are served."""
    served = snapshot.served_versions()
    return RegisteredModels(
        models=[
            RegisteredModel(
                name=name,
                champion=ChampionVersion.model_validate(champion) if champion else None,
                serving=sorted(served.get(name, ())),
            )
            for name in sorted({*snapshot.champions, *served})
            for champion in [snapshot.champions.get(name)]
        ]
    )


@api.get("/healthz", tags=["operation"], summary="Whether the process is alive")
async def healthz() -> Health:
    """Answers as long as the process does; says nothing about the forecasts."""
    return Health(status="ok")


@api.get("/readyz", responses=_NOT_READY, tags=["operation"], summary="Whether forecasts can be answered")
async def readyz(request: Request, snapshot: SnapshotDep) -> Readiness:
    """With the reasons, where the last good state is served because something newer cannot be read."""
    return Readiness(
        ready=True,
        snapshot_version=snapshot.version,
        symbols=len(snapshot.predictions),
        forecasts=sum(len(found.forecasts) for found in snapshot.predictions.values()),
        newest_as_of=snapshot.as_of,
        loaded_at=snapshot.loaded_at,
        reasons=_state(request).reasons(),
    )


@site.get("/metrics")
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


@site.get("/")
async def landing(request: Request) -> HTMLResponse:
    """Links to everything there is to see."""
    settings, snapshot = _settings(request), _state(request).snapshot
    if snapshot is None or not snapshot.predictions:
        status, symbol = "No forecasts yet: " + "; ".join(_state(request).reasons()), "AAPL"
    else:
        status = (
            f"Forecasts for {len(snapshot.predictions)} symbols, "
            f"the newest after the session of {snapshot.as_of:%Y-%m-%d}."
        )
        symbol = next(name for name, found in snapshot.predictions.items() if found.as_of == snapshot.as_of)
    dagster_url = f"http://{settings.host}:{settings.dagster_port}/asset-groups"
    return HTMLResponse(pages.landing(_base(request), dagster_url, status, symbol))


@site.get("/reports")
@site.get("/reports/")
def reports(request: Request) -> HTMLResponse:
    """Index of the reports."""
    files: PublicFolder = request.app.state.reports
    return HTMLResponse(pages.reports_index(_base(request), pages.group_reports(files.files())))


@site.get("/reports/{path:path}")
def report(request: Request, path: str) -> Response:
    """One file of a report."""
    files: PublicFolder = request.app.state.reports
    return files.answer(path, "There is no such report. /reports lists them.")


@site.get("/catalog")
async def catalog(request: Request) -> RedirectResponse:
    """The folder of the catalogue, so that its pages can link to each other."""
    return RedirectResponse(f"{_base(request)}/catalog/")


@site.get("/catalog/{path:path}")
def catalog_page(request: Request, path: str) -> Response:
    """dbt's catalogue, and the feature dictionary beside it."""
    files: PublicFolder = request.app.state.catalog
    return files.answer(path or "index.html", "There is no data catalogue yet. Materializing the dbt models writes it.")


@site.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Swagger UI from a package, so that it works without a network."""
    base = _base(request)
    return get_swagger_ui_html(
        openapi_url=f"{base}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{base}/docs/assets/swagger-ui-bundle.js",
        swagger_css_url=f"{base}/docs/assets/swagger-ui.css",
        swagger_favicon_url=f"{base}/docs/assets/favicon-32x32.png",
    )


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application over the lake and the registry of `settings` (default: of the environment)."""
    settings = settings or get_settings()
    state = ServingState(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
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
    app.state.reports = PublicFolder(settings.reports_uri, settings)
    app.state.catalog = PublicFolder(settings.catalog_uri, settings)
    app.state.metrics = build_registry(state)
    app.add_middleware(RequestMetrics, registry=app.state.metrics)
    problems.install(app)
    app.include_router(api)
    app.include_router(site)
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_swagger", "resources")]))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        problems.document_in(app.openapi_schema)
    return app.openapi_schema


def _documents(snapshot: Snapshot, symbols: Sequence[str]) -> list[bytes]:
    documents = []
    for symbol in symbols:
        document = snapshot.document(symbol)
        if document is None:
            raise problems.unknown_symbol(symbol, snapshot.predictions)
        documents.append(document)
    return documents


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", ""))
