"""The last good state on the local disk: for a quick start, and for days on which lake or registry are away."""

import logging
import os
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from serving.registry import RegisteredModel
from serving.schemas import Prediction
from serving.snapshot import Snapshot

logger = logging.getLogger(__name__)


class SavedState(BaseModel):
    """A snapshot as JSON; whatever follows from these is made anew."""

    lake_uri: str
    table: tuple[str, int]
    models: dict[str, RegisteredModel]
    predictions: dict[str, Prediction]
    loaded_at: datetime


def save(path: Path, lake_uri: str, snapshot: Snapshot) -> None:
    """Write a snapshot so that a reader, or a start after a crash, finds it whole or the one before.

    Raises
    ------
    OSError : the folder cannot be written.
    """
    state = SavedState(
        lake_uri=lake_uri,
        table=snapshot.table,
        models=dict(snapshot.models),
        predictions=dict(snapshot.predictions),
        loaded_at=snapshot.loaded_at,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")  # several workers may write at once
    part.write_text(state.model_dump_json())
    part.replace(path)


def restore(path: Path, lake_uri: str) -> Snapshot | None:
    """The snapshot that was saved last, dated today; None where there is none of this lake that can be read."""
    try:
        state = SavedState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:  # of another release, say
        logger.warning("%s is not used: %s", path, str(error).partition("\n")[0])
        return None
    if state.lake_uri != lake_uri:
        return None
    today = datetime.now(UTC).date()
    saved = Snapshot.of(state.table, state.models, state.predictions, loaded_at=state.loaded_at, day=date.min)
    return saved.redated(today)
