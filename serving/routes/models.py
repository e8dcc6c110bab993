"""The registered models, and what of them is served."""

from fastapi import APIRouter

from serving.dependencies import SnapshotDep
from serving.registry import CHALLENGER, CHAMPION
from serving.routes.responses import NOT_READY
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


def _alias(snapshot: Snapshot, name: str, alias: str) -> AliasedVersion | None:
    model = snapshot.models.get(name)
    version = model.aliases.get(alias) if model else None
    return AliasedVersion.model_validate(version) if version else None
