"""The registered models, and what of them is served."""

from fastapi import APIRouter

from serving.dependencies import SnapshotDep
from serving.routes.responses import NOT_READY
from serving.schemas import ChampionVersion, RegisteredModel, RegisteredModels

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=NOT_READY, summary="Champions and the versions served")
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
