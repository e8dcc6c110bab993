"""What is served: the forecasts of one state of lake and registry, immutable, and ready to be sent."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import cached_property
from typing import Any, NamedTuple

from pydantic import ValidationError

from lake.assignment import served_by_challenger
from serving.registry import CHALLENGER, CHAMPION, RegisteredModel
from serving.schemas import Forecast, Prediction

# A forecast over h sessions looks ahead for about this many days a session, weekends included.
_DAYS_A_SESSION = 1.4

_COLUMNS = ("id", "target", "horizon", "mean", "price", "as_of", "last_price", "role")

# The newest forecast of each version that was among the newest ones lately; so memory follows the number of symbols,
# not the length of history.
NEWEST = """
SELECT {columns}
FROM t AS p
JOIN (SELECT symbol, target, MAX(as_of) AS as_of FROM t GROUP BY symbol, target) AS newest
  ON p.symbol = newest.symbol AND p.target = newest.target
JOIN (SELECT symbol, target, model, version, MAX(as_of) AS as_of FROM t GROUP BY symbol, target, model, version) AS own
  ON p.symbol = own.symbol AND p.target = own.target AND p.model = own.model AND p.version = own.version
 AND p.as_of = own.as_of
WHERE p.as_of >= newest.as_of - INTERVAL '45 days'
"""


class Document(NamedTuple):
    """An answer ready to be sent.

    Attributes
    ----------
    etag : in quotes, as the header has it.
    modified : when this content was first served, UTC.
    headers : of an answer that sends it whole.
    """

    body: bytes
    etag: str
    modified: datetime
    headers: list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Snapshot:
    """One consistent state: every answer is made from exactly one of these.

    Attributes
    ----------
    table : id and version of the predictions table.
    models : registered models, each alias at the version that serves in its place.
    predictions : by symbol, sorted.
    loaded_at : UTC.
    day : day (UTC) that staleness is counted to.
    """

    table: tuple[str, int]
    models: Mapping[str, RegisteredModel]
    predictions: Mapping[str, Prediction]
    loaded_at: datetime
    day: date
    documents: Mapping[str, Document]

    @classmethod
    def of(
        cls,
        table: tuple[str, int],
        models: Mapping[str, RegisteredModel],
        predictions: Mapping[str, Prediction],
        *,
        loaded_at: datetime,
        day: date,
        before: "Snapshot | None" = None,
    ) -> "Snapshot":
        """A snapshot with its documents; those that are as `before` keep the time they were first served."""
        documents = {}
        for symbol, prediction in predictions.items():
            made = document(prediction.model_dump_json().encode(), loaded_at)
            known = before.documents.get(symbol) if before else None
            documents[symbol] = known if known and known.etag == made.etag else made
        folded = {symbol.casefold(): found for symbol, found in documents.items()}
        return cls(table, models, predictions, loaded_at, day, folded | documents)

    def redated(self, today: date) -> "Snapshot":
        """The same forecasts, as stale as they are on another day."""
        predictions = {
            symbol: found.model_copy(
                update={
                    "forecasts": [
                        forecast.model_copy(update={"staleness_days": _staleness(forecast.as_of, today)})
                        for forecast in found.forecasts
                    ]
                }
            )
            for symbol, found in self.predictions.items()
        }
        return Snapshot.of(self.table, self.models, predictions, loaded_at=self.loaded_at, day=today)

    def symbol(self, asked: str) -> str | None:
        """A symbol as it is spelt here, asked for in upper or lower case; None where it has no forecast."""
        return asked if asked in self.predictions else self._folded.get(asked.casefold())

    def document(self, symbol: str) -> Document | None:
        """JSON of a symbol's prediction, upper or lower case; None when there is none."""
        return self.documents.get(symbol) or self.documents.get(symbol.casefold())

    @property
    def version(self) -> int:
        """Version of the predictions table."""
        return self.table[1]

    @cached_property
    def as_of(self) -> datetime:
        """Newest session with a forecast of any symbol."""
        return max(prediction.as_of for prediction in self.predictions.values())

    def newest(self) -> dict[str, datetime]:
        """Newest session with a forecast, by target."""
        newest: dict[str, datetime] = {}
        for prediction in self.predictions.values():
            for forecast in prediction.forecasts:
                newest[forecast.target] = max(forecast.as_of, newest.get(forecast.target, forecast.as_of))
        return newest

    def served_versions(self) -> dict[str, set[str]]:
        """Model versions behind the forecasts, by model name."""
        versions: dict[str, set[str]] = {}
        for prediction in self.predictions.values():
            for forecast in prediction.forecasts:
                versions.setdefault(forecast.model.name, set()).add(forecast.model.version)
        return versions

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {symbol.casefold(): symbol for symbol in self.predictions}


def document(body: bytes, modified: datetime) -> Document:
    """A document with the hash of its content as its tag."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "etag": etag,
        "last-modified": format_datetime(modified, usegmt=True),
        "cache-control": "private, no-cache",
        "vary": "Accept",
    }
    return Document(body, etag, modified, [(name.encode(), value.encode()) for name, value in headers.items()])


def choose(
    rows: Iterable[Mapping[str, Any]],
    models: Mapping[str, RegisteredModel],
    refused: frozenset[tuple[str, str]],
    today: date,
) -> dict[str, Prediction]:
    """Of each symbol and target the one forecast that is served, by symbol, sorted.

    That is the champion's newest while it still looks ahead of the newest session with a forecast, or the challenger's
    where the symbol is in its share; else the newest of any version that was not refused.
    """
    offered: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if (row["model"], row["version"]) not in refused:
            offered.setdefault((row["symbol"], row["target"]), []).append(row)
    by_symbol: dict[str, list[dict[str, Any]]] = {}
    for symbol, target in sorted(offered):
        by_symbol.setdefault(symbol, []).append(_served(symbol, offered[symbol, target], models))
    return {symbol: _prediction(symbol, found, today) for symbol, found in by_symbol.items()}


def _served(symbol: str, offered: Sequence[Mapping[str, Any]], models: Mapping[str, RegisteredModel]) -> dict[str, Any]:
    newest = max(offered, key=lambda row: (row["as_of"], row["created_at"], row["id"]))
    looking_ahead = {
        (row["model"], row["version"]): row
        for row in offered
        if newest["as_of"] - row["as_of"] <= timedelta(days=row["horizon"] * _DAYS_A_SESSION)
    }
    model = models.get(newest["model"])
    for role in _roles(symbol, model):
        version = model.aliases.get(role) if model else None
        if version and (row := looking_ahead.get((version.name, version.version))):
            return {**row, "role": role}
    return {**newest, "role": "fallback"}


def _roles(symbol: str, model: RegisteredModel | None) -> tuple[str, ...]:
    """Aliases whose forecast a symbol is served, the first one that has it."""
    share = model.challenger_share if model else None
    return (CHALLENGER, CHAMPION) if share and served_by_challenger(symbol, share) else (CHAMPION,)


def _prediction(symbol: str, rows: Sequence[Mapping[str, Any]], today: date) -> Prediction:
    newest = max(rows, key=lambda row: row["as_of"])
    return Prediction(
        symbol=symbol,
        as_of=newest["as_of"],
        last_price=newest["last_price"],
        forecasts=[_forecast(row, today) for row in rows],
    )


def _forecast(row: Mapping[str, Any], today: date) -> Forecast:
    try:
        return Forecast.model_validate(
            {
                **{name: row[name] for name in _COLUMNS},
                "intervals": sorted(row["intervals"], key=lambda interval: interval["level"]),
                "model": {"name": row["model"], "version": row["version"]},
                "lake_versions": json.loads(row["lake_versions"]),
                "staleness_days": _staleness(row["as_of"], today),
                "contributions": row.get("contributions") or [],
            }
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        place = ".".join(map(str, wrong["loc"]))
        raise ValueError(f"forecast {row['id']} of {row['symbol']}: {place}: {wrong['msg']}") from error


def _staleness(as_of: datetime, today: date) -> int:
    return max((today - as_of.astimezone(UTC).date()).days, 0)
