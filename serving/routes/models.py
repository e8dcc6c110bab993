"""The registered models, and what of them is served."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from serving.dependencies import SnapshotDep
from serving.files import PublicFolder
from serving.registry import CHALLENGER, CHAMPION
from serving.routes.responses import INVALID, NOT_FOUND, NOT_READY
from serving.schemas import AliasedVersion, RegisteredModel, RegisteredModels
from serving.snapshot import Snapshot

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=NOT_READY, summary="Champions and the versions served")
async def list_models(snapshot: SnapshotDep) -> RegisteredModels:
    """The registry's champions, as last read, beside the versions whose forecasts are served."""
    served = snapshot.served_versions()
    return RegisteredModels(
        models=[
            RegisteredModel(
                name=name,
                champion=_alias(snapshot, name, CHAMPION),
                challenger=_alias(snapshot, name, CHALLENGER),
                challenger_share=snapshot.models[name].challenger_share if name in snapshot.models else None,
                serving=sorted(served.get(name, ())),
            )
            for name in sorted({*snapshot.models, *served})
        ]
    )


@router.get(
    "/models/{name}/{version}/card",
    response_model=dict[str, Any],
    responses=NOT_FOUND | INVALID,
    summary="Model card of a version",
)
def get_model_card(
    request: Request,
    name: Annotated[str, Path(pattern=r"^\w[\w.-]{0,63}$", examples=["return_5d"])],
    version: Annotated[str, Path(pattern="^[0-9]{1,9}$", examples=["3"])],
) -> Response:
    """What it is for, was trained on, can do and cannot; as a page where the header `Accept` asks for HTML."""
    kind = "html" if "text/html" in request.headers.get("accept", "") else "json"
    files: PublicFolder = request.app.state.reports
    return files.answer(
        request, f"cards/{name}/{version}.{kind}", f"There is no card of version {version} of a model '{name}'."
    )


def _alias(snapshot: Snapshot, name: str, alias: str) -> AliasedVersion | None:
    model = snapshot.models.get(name)
    version = model.aliases.get(alias) if model else None
    return AliasedVersion.model_validate(version) if version else None
