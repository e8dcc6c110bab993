"""How a document is sent: in the format that is asked for, and not again where the client has it."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Literal

from fastapi import Request, Response

from serving.schemas import Prediction
from serving.snapshot import Document
from serving.state import ServingState

Format = Literal["json", "csv"]
_QUALITY = re.compile(r"[01](\.\d{0,3})?")
DEGRADED = "Lakehouse-Degraded"
_MEDIA_TYPES = {"json": b"application/json", "csv": b"text/csv; charset=utf-8"}


class DocumentResponse(Response):
    """A document with its validators, or 304 without it."""

    def __init__(self, request: Request, state: ServingState, document: Document, kind: Format = "json") -> None:
        headers = [
            (b"etag", document.etag.encode()),
            (b"last-modified", format_datetime(document.modified, usegmt=True).encode()),
            (b"cache-control", b"private, no-cache"),  # may be kept, must be asked for again
            (b"vary", b"Accept"),
        ]
        if degraded := state.degraded():
            headers.append((DEGRADED.lower().encode(), ", ".join(degraded).encode()))
        if not_modified(request, document.etag, document.modified):
            self.status_code, self.body = 304, b""
        else:
            self.status_code, self.body = 200, document.body
            headers.append((b"content-type", _MEDIA_TYPES[kind]))
            headers.append((b"content-length", str(len(document.body)).encode()))
        self.raw_headers = headers
        self.background = None


def chosen(request: Request, asked: Format | None) -> Format:
    """The format asked for: by the query, else by what the header `Accept` prefers, else JSON."""
    if asked is not None:
        return asked
    accept = request.headers.get("accept", "")
    if "text/csv" not in accept:
        return "json"
    return "csv" if _quality(accept, "text/csv") > _quality(accept, "application/json") else "json"


def not_modified(request: Request, etag: str, modified: datetime) -> bool:
    """Whether the client has this state already (RFC 9110: `If-None-Match` counts before `If-Modified-Since`)."""
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        return "*" in tags or etag.removeprefix("W/") in tags
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
        return modified.replace(microsecond=0) <= moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):  # no date: as if it were not there
        return False


def table(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> bytes:
    """Rows as CSV with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def predictions_csv(predictions: Iterable[Prediction]) -> bytes:
    """One line a forecast; intervals as a pair of columns a level, such as `lower_90` and `upper_90`."""
    rows = [
        {
            "symbol": found.symbol,
            **made.model_dump(mode="json", exclude={"intervals", "model", "lake_versions", "contributions"}),
            "model": made.model.name,
            "version": made.model.version,
            **{f"{side}_{i.level:.0%}"[:-1]: getattr(i, side) for i in made.intervals for side in ("lower", "upper")},
            "contributions": json.dumps({c.feature: c.contribution for c in made.contributions}),
            "lake_versions": json.dumps(made.lake_versions),
        }
        for found in predictions
        for made in found.forecasts
    ]
    return table(rows, list(dict.fromkeys(name for row in rows for name in row)))


def _quality(accept: str, media_type: str) -> float:
    """How much a client wants a media type, 0 to 1; the most specific range counts."""
    ranges = ["*/*", media_type.partition("/")[0] + "/*", media_type]
    found: dict[str, float] = {}
    for part in accept.split(","):
        wanted, *parameters = (piece.strip() for piece in part.split(";"))
        if wanted in ranges:
            quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
            found[wanted] = float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return next((found[name] for name in reversed(ranges) if name in found), 0.0)
