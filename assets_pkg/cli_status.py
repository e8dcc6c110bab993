"""`lakehouse status`: what is in the lake, a line a table, and which models serve."""

import os
from collections.abc import Collection, Iterator, Mapping

from lake.inventory import take_inventory
from lake.settings import Settings
from lake.store import Lake
from lake.tables import AUDIT

_HEAD = (
    f"{'table':<32}{'rows':>12}{'size':>10}{'stored':>10}{'version':>9}{'readable':>10}  {'newest session':<16}pinned"
)
_SHOWN_PINS = 4


def status_lines(settings: Settings) -> Iterator[str]:
    """The lines of the command.

    `size` is that of the newest version, `stored` that of everything on disk or S3; `readable` counts versions,
    `pinned` names those that a registered model or a forecast was made from.
    """
    lake = Lake.from_settings(settings)
    tables = lake.tables()
    if not tables:
        yield f"The lake {settings.lake_uri} is empty: `lakehouse materialize` fills it."
        return
    pins = _pinned_versions(settings, lake)
    yield settings.lake_uri
    yield _HEAD
    stored = 0
    for table in tables:
        found = take_inventory(settings, table)
        stored += found.stored_bytes
        newest = f"{found.newest:%Y-%m-%d}" if found.newest else ""
        yield (
            f"{table:<32}{found.rows:>12,}{_size(found.bytes):>10}{_size(found.stored_bytes):>10}{found.version:>9}"
            f"{len(found.readable):>10}  {newest:<16}{'?' if pins is None else _pins(pins.get(table, ()))}"
        ).rstrip()
    yield f"{'all tables':<32}{'':>22}{_size(stored):>10}"
    if AUDIT.name in tables:
        moves = lake.read(AUDIT.name).sort_by("decided_at").to_pylist()
        for move in {move["model"]: move for move in moves}.values():
            by = f"{move['action']}, {move['who']}, {move['decided_at']:%Y-%m-%d %H:%M}"
            yield f"champion of {move['model']}: version {move['to_version']} ({by}). {move['why']}"


def _pinned_versions(settings: Settings, lake: Lake) -> Mapping[str, set[int]] | None:
    """None where the registry does not answer: then the other columns are worth showing all the more."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's own patience is minutes
    from mlflow.exceptions import MlflowException

    from ml.pins import pinned_versions
    from ml.registry import Registry

    try:
        return pinned_versions(lake, Registry(settings))
    except MlflowException:
        return None


def _size(count: float) -> str:
    """Bytes in the unit that people would use."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _pins(versions: Collection[int]) -> str:
    newest = sorted(versions, reverse=True)
    more = f" and {len(newest) - _SHOWN_PINS} more" if len(newest) > _SHOWN_PINS else ""
    return ", ".join(map(str, newest[:_SHOWN_PINS])) + more
