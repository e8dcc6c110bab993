"""The past of forecasts: those of a symbol with their scores, and where one comes from."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from serving import problems
from serving.dependencies import SettingsDep, SnapshotDep, StateDep
from serving.history import CursorError, PastForecasts
from serving.problems import ProblemError
from serving.routes.responses import INVALID, NOT_FOUND, NOT_READY
from serving.schemas import History, HistoryQuery, Lineage
from serving.state import TABLE
from serving.trace import trace

router = APIRouter(prefix="/v1", tags=["forecasts"])


@router.get(
    "/predictions/{symbol}/history",
    responses=NOT_FOUND | INVALID | NOT_READY,
    summary="Past forecasts of one symbol, with their scores",
)
async def get_history(
    request: Request,
    snapshot: SnapshotDep,
    symbol: Annotated[str, Path(max_length=64, description="Upper or lower case.", examples=["AAPL"])],
    query: Annotated[HistoryQuery, Query()],
) -> History:
    """Of every version, the newest session first; forecasts that come in meanwhile do not move the pages."""
    spelt = snapshot.symbol(symbol)
    if spelt is None:
        raise problems.unknown_symbol(symbol, snapshot.predictions)
    past: PastForecasts = request.app.state.past
    try:
        found, following = await asyncio.to_thread(past.page, spelt, query.target, query.limit, query.cursor)
    except CursorError as error:
        raise problems.invalid("query", {"cursor": str(error)}) from error
    except Exception as error:  # whatever a store raises
        raise problems.busy(f"The table {TABLE} cannot be read now ({type(error).__name__}).") from error
    return History(symbol=spelt, forecasts=found, next_cursor=following)


@router.get(
    "/forecasts/{id}/lineage",
    responses=NOT_FOUND | INVALID | NOT_READY,
    summary="Where a forecast comes from",
)
async def get_lineage(
    state: StateDep,
    settings: SettingsDep,
    id: Annotated[
        str, Path(pattern="^[0-9a-f]{16}$", description="`id` of a forecast.", examples=["9f3c2a61b0d4e875"])
    ],
) -> Lineage:
    """Followed back from the forecast to model, features and raw rows, and verified on the way."""
    try:
        found = await asyncio.to_thread(trace, id, settings, state)
    except Exception as error:  # whatever a store raises
        raise problems.busy(f"The lake cannot be read now ({type(error).__name__}).") from error
    if found is None:
        raise ProblemError(404, f"No forecast has the id {id}.")
    return Lineage.model_validate(found)
