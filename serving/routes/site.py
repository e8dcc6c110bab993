"""What people open in a browser: the landing page, reports, the catalogue, the documentation of the API."""

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

from serving import pages
from serving.dependencies import BaseDep, SettingsDep, StateDep
from serving.files import PublicFolder

router = APIRouter(include_in_schema=False)


@router.get("/")
async def landing(state: StateDep, settings: SettingsDep, base: BaseDep) -> HTMLResponse:
    """Links to everything there is to see."""
    snapshot = state.snapshot
    if snapshot is None or not snapshot.predictions:
        status, symbol = "No forecasts yet: " + "; ".join(state.reasons()), "AAPL"
    else:
        status = (
            f"Forecasts for {len(snapshot.predictions)} symbols, "
            f"the newest after the session of {snapshot.as_of:%Y-%m-%d}."
        )
        symbol = next(name for name, found in snapshot.predictions.items() if found.as_of == snapshot.as_of)
    dagster_url = f"http://{settings.ui_host}:{settings.dagster_port}/asset-groups"
    return HTMLResponse(pages.landing(base, dagster_url, status, symbol))


@router.get("/reports")
@router.get("/reports/")
def reports(request: Request, base: BaseDep) -> HTMLResponse:
    """Index of the reports."""
    files: PublicFolder = request.app.state.reports
    return HTMLResponse(pages.reports_index(base, pages.group_reports(files.files())))


@router.get("/reports/{path:path}")
def report(request: Request, path: str) -> Response:
    """One file of a report."""
    files: PublicFolder = request.app.state.reports
    return files.answer(request, path, "There is no such report. /reports lists them.")


@router.get("/catalog")
async def catalog(base: BaseDep) -> RedirectResponse:
    """The folder of the catalogue, so that its pages can link to each other."""
    return RedirectResponse(f"{base}/catalog/")


@router.get("/catalog/{path:path}")
def catalog_page(request: Request, path: str) -> Response:
    """dbt's catalogue, and the feature dictionary beside it."""
    files: PublicFolder = request.app.state.catalog
    missing = "There is no data catalogue yet. Materializing the dbt models writes it."
    return files.answer(request, path or "index.html", missing)


@router.get("/docs")
async def docs(request: Request, base: BaseDep) -> HTMLResponse:
    """Swagger UI from a package, so that it works without a network."""
    return get_swagger_ui_html(
        openapi_url=f"{base}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{base}/docs/assets/swagger-ui-bundle.js",
        swagger_css_url=f"{base}/docs/assets/swagger-ui.css",
        swagger_favicon_url=f"{base}/docs/assets/favicon-32x32.png",
    )
