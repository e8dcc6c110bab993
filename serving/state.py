"""What is served: the newest forecasts as one immutable snapshot in memory, swapped whole when the lake changes."""

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError
from pydantic import ValidationError

from lake.s3 import one_line
from lake.settings import Settings
from lake.store import Lake
from serving.champions import Champion, RegistryError, read_champions
from serving.schemas import Forecast, Prediction

TABLE = "forecasts/predictions"
POLL_SECONDS = 1.0
# Asking an open table for newer versions is cheap but does not notice that the lake was deleted or built anew.
REOPEN_SECONDS = 10.0
# A look at the lake that takes longer than this (a hung store) is reported, not waited for.
STALLED_SECONDS = 30.0

# Only the newest rows leave the query engine, so memory follows the number of symbols, not the length of history.
# Times travel as ISO text: pyarrow imports pandas to turn timestamps into Python objects.
_NEWEST = """
SELECT p.id, p.symbol, p.target, p.horizon, p.last_price, p.mean, p.price, p.intervals, p.model, p.version,
       p.lake_versions, CAST(p.as_of AS VARCHAR) AS as_of, CAST(p.created_at AS VARCHAR) AS created_at
FROM predictions AS p
JOIN (SELECT symbol, target, MAX(as_of) AS as_of FROM predictions GROUP BY symbol, target) AS newest
  ON p.symbol = newest.symbol AND p.target = newest.target AND p.as_of = newest.as_of
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """One consistent state: every answer is made from exactly one of these.

    Attributes
    ----------
    identity : what it was made from (table, table version, champions); another identity means a reload.
    version : version of the predictions table.
    predictions : by symbol, sorted.
    documents : the same as JSON, by symbol as it is spelt and by its folded case.
    loaded_at : UTC.
    """

    identity: tuple[object, ...]
    version: int
    champions: Mapping[str, Champion]
    predictions: Mapping[str, Prediction]
    documents: Mapping[str, bytes]
    loaded_at: datetime

    def document(self, symbol: str) -> bytes | None:
        """JSON of a symbol's prediction, upper or lower case; None when there is none."""
        return self.documents.get(symbol) or self.documents.get(symbol.casefold())

    @property
    def as_of(self) -> datetime:
        """Newest session with a forecast of any symbol."""
        return max(prediction.as_of for prediction in self.predictions.values())

    def newest(self) -> dict[str, datetime]:
        """Newest session with a forecast, by target."""
        newest: dict[str, datetime] = {}
        for prediction in self.predictions.values():
            for forecast in prediction.forecasts:
                as_of = forecast.as_of or prediction.as_of
                newest[forecast.target] = max(as_of, newest.get(forecast.target, as_of))
        return newest

    def served_versions(self) -> dict[str, set[str]]:
        """Model versions behind the forecasts, by model name."""
        versions: dict[str, set[str]] = {}
        for prediction in self.predictions.values():
            for forecast in prediction.forecasts:
                versions.setdefault(forecast.model.name, set()).add(forecast.model.version)
        return versions


class ServingState:
    """Holds the newest good snapshot and follows the lake and the registry in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.snapshot: Snapshot | None = None
        self.failed_refreshes = 0
        self._settings = settings
        self._champions: Mapping[str, Champion] = {}
        self._problems: tuple[str, ...] = ("the lake has not been looked at yet",)
        self._looked_at = time.monotonic()
        self._table: DeltaTable | None = None
        self._opened_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="refresher", daemon=True)

    def start(self) -> None:
        """Begin to follow; returns at once, the first snapshot comes when it is loaded."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following; a look that hangs is left behind."""
        self._stop.set()
        self._thread.join(timeout=POLL_SECONDS)

    def reasons(self) -> list[str]:
        """Whatever keeps the snapshot from being there or from being up to date; empty when all is well."""
        silent = time.monotonic() - self._looked_at
        stalled = [f"the lake has not answered for {silent:.0f} s"] if silent > STALLED_SECONDS else []
        return [*self._problems, *stalled]

    def refresh(self) -> None:
        """Look once; swap the snapshot when the table or a champion changed. Never raises: see `reasons`."""
        problems = []
        try:
            self._champions = read_champions(self._settings.mlflow_tracking_uri)
        except RegistryError as error:
            known = "the champions known before" if self._champions else "the newest forecasts of any version"
            problems.append(f"model registry: {error}; {known} are served")
        try:
            snapshot = self._look(self._champions)
        except TableNotFoundError:
            problems.append(f"the lake has no table {TABLE} yet: materialize it")
        except Exception as error:  # whatever a store or a broken table raises, the last good state serves on
            reason = one_line(str(error)).partition("\n")[0]
            problems.append(f"lake: {type(error).__name__}: {reason}")
            self.failed_refreshes += 1
            self._table = None
        else:
            if not snapshot.predictions:
                problems.append(f"the table {TABLE} is empty")
            if snapshot is not self.snapshot:
                logger.info("serving version %d of %s", snapshot.version, TABLE)
                self.snapshot = snapshot
        if problems and tuple(problems) != self._problems:
            logger.warning("; ".join(problems))
        self._problems = tuple(problems)
        self._looked_at = time.monotonic()

    def _follow(self) -> None:
        while True:
            self.refresh()
            if self._stop.wait(POLL_SECONDS):
                return

    def _look(self, champions: Mapping[str, Champion]) -> Snapshot:
        table = self._newest_table()
        # The table's id too: a lake that was deleted and built anew counts its versions from 0 again.
        identity = (table.metadata().id, table.version(), champions)
        if self.snapshot is not None and self.snapshot.identity == identity:
            return self.snapshot
        predictions = _predictions(_newest_rows(table), champions)
        documents = {symbol: found.model_dump_json().encode() for symbol, found in predictions.items()}
        return Snapshot(
            identity=identity,
            version=table.version(),
            champions=champions,
            predictions=predictions,
            documents={symbol.casefold(): document for symbol, document in documents.items()} | documents,
            loaded_at=datetime.now(UTC),
        )

    def _newest_table(self) -> DeltaTable:
        if self._table is not None and time.monotonic() - self._opened_at < REOPEN_SECONDS:
            self._table.update_incremental()
        else:
            lake = Lake.from_settings(self._settings)
            self._table = DeltaTable(lake.path(TABLE), storage_options=lake.storage_options)
            self._opened_at = time.monotonic()
        return self._table


def _newest_rows(table: DeltaTable) -> Iterator[dict[str, Any]]:
    # One partition: the table is small, and each further one costs memory.
    engine = QueryBuilder({"datafusion.execution.target_partitions": "1"}).register("predictions", table)
    for batch in pa.RecordBatchReader.from_stream(engine.execute(_NEWEST)):
        yield from batch.to_pylist()


def _predictions(rows: Iterator[dict[str, Any]], champions: Mapping[str, Champion]) -> dict[str, Prediction]:
    """Of each symbol and target the champion's row, else the one that was created last."""

    def preference(row: dict[str, Any]) -> tuple[bool, datetime, str]:
        champion = champions.get(row["model"])
        is_champion = champion is not None and champion.version == row["version"]
        return is_champion, datetime.fromisoformat(row["created_at"]), row["id"]

    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = row["symbol"], row["target"]
        if key not in chosen or preference(row) > preference(chosen[key]):
            chosen[key] = row
    by_symbol: dict[str, list[dict[str, Any]]] = {}
    for key in sorted(chosen):
        by_symbol.setdefault(key[0], []).append(chosen[key])
    return {symbol: _prediction(symbol, found) for symbol, found in by_symbol.items()}


def _prediction(symbol: str, rows: Sequence[dict[str, Any]]) -> Prediction:
    newest = max(rows, key=lambda row: datetime.fromisoformat(row["as_of"]))
    return Prediction(
        symbol=symbol,
        as_of=newest["as_of"],
        last_price=newest["last_price"],
        forecasts=[_forecast(row, of_newest=row["as_of"] == newest["as_of"]) for row in rows],
    )


def _forecast(row: dict[str, Any], of_newest: bool) -> Forecast:
    try:
        return Forecast.model_validate(
            {
                **{name: row[name] for name in ("id", "target", "horizon", "mean", "price")},
                "intervals": sorted(row["intervals"], key=lambda interval: interval["level"]),
                "model": {"name": row["model"], "version": row["version"]},
                "lake_versions": json.loads(row["lake_versions"]),
                "as_of": None if of_newest else row["as_of"],
                "last_price": None if of_newest else row["last_price"],
            }
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        raise ValueError(f"forecast {row['id']} of {row['symbol']}: {place}: {wrong['msg']}") from error
