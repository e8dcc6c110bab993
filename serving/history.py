"""Forecasts as they were made, with their scores, page by page; read from the lake at every call."""

import json
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Any

from deltalake.exceptions import TableNotFoundError

from lake.settings import Settings
from serving.schemas import PastForecast
from serving.state import TABLE
from serving.tables import LakeTable, quoted

SCORES = "forecasts/scores"
_COLUMNS = "id, target, horizon, as_of, created_at, last_price, mean, price, intervals, model, version, lake_versions"


class CursorError(ValueError):
    """A cursor that no page has given."""


class PastForecasts:
    """All forecasts of the lake. Blocks, so call it from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._forecasts = LakeTable(TABLE, settings)
        self._scores = LakeTable(SCORES, settings)
        self._lock = threading.Lock()

    def page(
        self, symbol: str, target: str | None, limit: int, cursor: str | None
    ) -> tuple[list[PastForecast], str | None]:
        """Forecasts of a symbol, the newest first, and the cursor of the next page.

        Raises
        ------
        CursorError : the cursor is none.
        """
        where = [f"symbol = {quoted(symbol)}"]
        if target is not None:
            where.append(f"target = {quoted(target)}")
        if cursor is not None:
            as_of, id = _decoded(cursor)
            moment = f"CAST({quoted(as_of)} AS TIMESTAMP WITH TIME ZONE)"
            where.append(f"(as_of < {moment} OR (as_of = {moment} AND id > {quoted(id)}))")
        with self._lock:
            self._forecasts.refresh()
            columns = _COLUMNS + (", role" if "role" in self._forecasts.columns() else "")
            rows = list(
                self._forecasts.rows(
                    f"SELECT {columns} FROM t WHERE {' AND '.join(where)} ORDER BY as_of DESC, id LIMIT {limit + 1}"
                )
            )
            scores = self._scores_of([row["id"] for row in rows[:limit]])
        found = [_past(row, scores.get(row["id"])) for row in rows[:limit]]
        return found, _encoded(found[-1]) if len(rows) > limit else None

    def _scores_of(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        if not ids:
            return {}
        try:
            self._scores.refresh()
        except TableNotFoundError:  # nothing was scored yet
            return {}
        wanted = ", ".join(map(quoted, ids))
        rows = self._scores.rows(f"SELECT id, outcome, error, loss, known_at, hits FROM t WHERE id IN ({wanted})")
        return {row["id"]: row for row in rows}


def _past(row: dict[str, Any], score: dict[str, Any] | None) -> PastForecast:
    return PastForecast.model_validate(
        {
            **row,
            "intervals": sorted(row["intervals"], key=lambda interval: interval["level"]),
            "model": {"name": row["model"], "version": row["version"]},
            "lake_versions": json.loads(row["lake_versions"]),
            "role": row.get("role"),
            "score": score,
        }
    )


def _encoded(last: PastForecast) -> str:
    return urlsafe_b64encode(f"{last.as_of.isoformat()}|{last.id}".encode()).decode()


def _decoded(cursor: str) -> tuple[str, str]:
    try:
        as_of, _, id = urlsafe_b64decode(cursor.encode("ascii")).decode().partition("|")
        return datetime.fromisoformat(as_of).isoformat(), id
    except ValueError as error:
        raise CursorError("is no cursor of a page before") from error
