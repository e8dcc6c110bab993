"""What whoever operates the process asks: is it alive, can it answer, what does it count."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.dependencies import SnapshotDep, StateDep
from serving.routes.responses import NOT_READY
from serving.schemas import Health, Readiness

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Whether the process is alive")
async def healthz() -> Health:
    """Answers as long as the process does; says nothing about the forecasts."""
    return Health(status="ok")


@router.get("/readyz", responses=NOT_READY, summary="Whether forecasts can be answered")
async def readyz(state: StateDep, snapshot: SnapshotDep) -> Readiness:
    """With the reasons, where the last good state is served because something newer cannot be read."""
    return Readiness(
        ready=True,
        snapshot_version=snapshot.version,
        symbols=len(snapshot.predictions),
        forecasts=sum(len(found.forecasts) for found in snapshot.predictions.values()),
        newest_as_of=snapshot.as_of,
        loaded_at=snapshot.loaded_at,
        reasons=state.reasons(),
    )


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)
