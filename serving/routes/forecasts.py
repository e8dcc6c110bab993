"""Forecasts that the lake holds: of one symbol, of several, and which symbols there are."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from serving import problems
from serving.answers import DocumentResponse, Format, chosen, predictions_csv
from serving.dependencies import SnapshotDep, StateDep
from serving.routes.responses import DOCUMENT, INVALID, NOT_FOUND, NOT_READY
from serving.schemas import Prediction, Predictions, PredictionsQuery, Symbols, SymbolSummary
from serving.snapshot import Document, Snapshot, document
from serving.state import ServingState

FormatParameter = Annotated[
    Format | None, Query(description="Instead of the header `Accept`: `json` or `csv`.", examples=["csv"])
]

router = APIRouter(prefix="/v1", tags=["forecasts"])


@router.get(
    "/predictions/{symbol}",
    response_model=Prediction,
    responses=DOCUMENT | NOT_FOUND | INVALID | NOT_READY,
    summary="Newest forecasts of one symbol",
)
async def get_prediction(
    request: Request,
    state: StateDep,
    snapshot: SnapshotDep,
    symbol: Annotated[str, Path(max_length=64, description="Upper or lower case.", examples=["AAPL"])],
    format: FormatParameter = None,
) -> Response:
    """The newest forecast of each target, by the champion of its model where it has made one."""
    kind = chosen(request, format)
    if kind == "json" and (found := snapshot.document(symbol)) is not None:
        return DocumentResponse(request, state, found)
    return _several(request, state, snapshot, [symbol], kind)


@router.get(
    "/predictions",
    response_model=Predictions,
    responses=DOCUMENT | NOT_FOUND | INVALID | NOT_READY,
    summary="Newest forecasts of several symbols, or of all",
)
async def list_predictions(
    request: Request, state: StateDep, snapshot: SnapshotDep, query: Annotated[PredictionsQuery, Query()]
) -> Response:
    """All from one state of the lake, in the order of asking, page by page. One unknown symbol makes it a 404."""
    symbols = query.names() or list(snapshot.predictions)
    page = symbols[query.offset : query.offset + query.limit]
    kind = chosen(request, query.format)
    if kind == "csv":
        return _several(request, state, snapshot, page, kind)
    documents = [_document(snapshot, symbol) for symbol in page]
    more = query.offset + query.limit
    tail = f'],"total":{len(symbols)},"next_offset":{more if more < len(symbols) else "null"}}}'
    body = b'{"predictions":[' + b",".join(document.body for document in documents) + tail.encode()
    modified = max((document.modified for document in documents), default=snapshot.loaded_at)
    return DocumentResponse(request, state, document(body, modified))


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


def _document(snapshot: Snapshot, symbol: str) -> Document:
    found = snapshot.document(symbol)
    if found is None:
        raise problems.unknown_symbol(symbol, snapshot.predictions)
    return found


def _several(
    request: Request, state: ServingState, snapshot: Snapshot, symbols: Sequence[str], kind: Format
) -> Response:
    modified = max((_document(snapshot, symbol).modified for symbol in symbols), default=snapshot.loaded_at)
    found = [snapshot.predictions[spelt] for symbol in symbols if (spelt := snapshot.symbol(symbol))]
    return DocumentResponse(request, state, document(predictions_csv(found), modified), kind)
