"""Forecasts that the lake holds: of one symbol, of several, and which symbols there are."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from serving import problems
from serving.dependencies import SnapshotDep
from serving.routes.responses import INVALID, NOT_FOUND, NOT_READY
from serving.schemas import Prediction, Predictions, PredictionsQuery, Symbols, SymbolSummary
from serving.snapshot import Snapshot

router = APIRouter(prefix="/v1", tags=["forecasts"])


@router.get(
    "/predictions/{symbol}",
    response_model=Prediction,
    responses=NOT_FOUND | INVALID | NOT_READY,
    summary="Newest forecasts of one symbol",
)
async def get_prediction(
    snapshot: SnapshotDep,
    symbol: Annotated[str, Path(max_length=64, description="Upper or lower case.", examples=["AAPL"])],
) -> Response:
    """The newest forecast of each target, by the champion of its model where it has made one."""
    return Response(_documents(snapshot, [symbol])[0], media_type="application/json")


@router.get(
    "/predictions",
    response_model=Predictions,
    responses=NOT_FOUND | INVALID | NOT_READY,
    summary="Newest forecasts of several symbols, or of all",
)
async def list_predictions(snapshot: SnapshotDep, query: Annotated[PredictionsQuery, Query()]) -> Response:
    """All from one state of the lake, in the order of asking. One unknown symbol makes the answer a 404."""
    documents = _documents(snapshot, query.names() or list(snapshot.predictions))
    return Response(b'{"predictions":[' + b",".join(documents) + b"]}", media_type="application/json")


@router.get("/symbols", responses=NOT_READY, summary="Symbols that have forecasts")
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


def _documents(snapshot: Snapshot, symbols: Sequence[str]) -> list[bytes]:
    documents = []
    for symbol in symbols:
        document = snapshot.document(symbol)
        if document is None:
            raise problems.unknown_symbol(symbol, snapshot.predictions)
        documents.append(document.body)
    return documents
