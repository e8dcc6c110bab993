"""Backup and restore of everything that cannot be built again: tables, model registry, reports, catalogue.

A backup is a folder of plain files with a manifest, which is written last: without it, it is none.
"""

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from lake.files import Folder
from lake.inventory import read_log, version_of
from lake.settings import Settings
from lake.store import Lake

MANIFEST = "manifest.json"
_UNFINISHED = "backup-unfinished"  # in a backup that has no manifest yet
_RESTORING = "restore-unfinished"  # in a home
_REGISTRY = "mlflow/mlflow.db"
_WORKERS = 4


class BackupError(RuntimeError):
    """A backup or a restore cannot go on; the message says why in one sentence."""


class File(BaseModel):
    """What the manifest says of a file."""

    size: int
    sha256: str


class Manifest(BaseModel):
    """What a backup consists of.

    Attributes
    ----------
    tables : version of each table; what was committed later is not in the backup.
    artifact_root : where MLflow's artefacts were, as the registry writes it.
    registry : whether the registry is in it; that of a server is not ours to back up.
    """

    created_at: datetime
    tables: dict[str, int]
    artifact_root: str
    registry: bool
    files: dict[str, File]


class Restoring(BaseModel):
    """A restore that has begun: from which backup, and where each of its folders, and the registry, goes."""

    source: str
    targets: dict[str, str]


def backup(settings: Settings, destination: str) -> Manifest:
    """Copy lake, registry, reports and catalogue to an empty folder, consistently while others write.

    Tables are taken as they are at the start, in every version that can still be read, and the registry right after
    them, so that it knows every model that a table names. Where a backup was interrupted, it is begun anew.

    Parameters
    ----------
    destination : absolute path or `s3://bucket/prefix`.

    Raises
    ------
    BackupError : the destination is not empty, or a table is damaged.
    """
    target = Folder(destination, settings)
    found = target.files()
    if MANIFEST in found:
        raise BackupError(f"{destination} holds a backup already: name an empty folder.")
    if found and _UNFINISHED not in found:
        raise BackupError(f"{destination} is not empty: name an empty folder.")
    created_at = datetime.now(UTC)
    target.write(_UNFINISHED, created_at.isoformat().encode())

    lake = Lake.from_settings(settings)
    tables = {table: version for table in lake.tables() if (version := lake.version(table)) is not None}
    database = settings.mlflow_sqlite_file
    files = {}
    if database is not None and database.exists():
        files[_REGISTRY] = _copy(_snapshot(database), target, _REGISTRY)
    plan, needed = _plan(settings, tables)

    def copy(name: str) -> File | None:
        folder, path = plan[name]
        try:
            return _copy(folder.read(path), target, name)
        except FileNotFoundError:
            if name in needed:
                raise BackupError(f"{folder.uri}/{path} is gone, without which the table cannot be read.") from None
            return None  # a file of an older version that vacuum has deleted meanwhile

    with ThreadPoolExecutor(_WORKERS) as pool:
        files |= {name: file for name, file in zip(plan, pool.map(copy, plan), strict=True) if file is not None}
    _remove_others(target, {*files, _UNFINISHED})
    manifest = Manifest(
        created_at=created_at,
        tables=tables,
        artifact_root=settings.mlflow_artifact_root,
        registry=_REGISTRY in files,
        files=files,
    )
    target.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
    target.remove(_UNFINISHED)
    return manifest


def restore(settings: Settings, source: str) -> Manifest:
    """Bring a backup back into an empty place, which may be another one than it came from.

    Every file is compared with the manifest. A restore that was interrupted goes on when it is called again, into the
    same places only.

    Parameters
    ----------
    source : absolute path or `s3://bucket/prefix`.

    Raises
    ------
    BackupError : there is no whole backup, a file is not what it was, the place is not empty, or another restore into
        this home has not ended.
    """
    origin = Folder(source, settings)
    manifest = _read_manifest(origin, settings)
    found = {path: file.size for path, file in origin.files().items()}
    wrong = sorted(name for name, file in manifest.files.items() if found.get(name) != file.size)
    if wrong:
        raise BackupError(f"{source} is damaged: {wrong[0]} is missing or has another size ({len(wrong)} such files).")
    database = settings.mlflow_sqlite_file
    folders = {name: Folder(uri, settings) for name, uri in _folders(settings).items()}
    begun = unfinished_restore(settings)
    wanted = Restoring(source=source, targets=_folders(settings) | {_REGISTRY: str(database or "")})
    home = Folder(str(settings.home), settings)
    if begun is None:
        _refuse_what_is_there(folders, database)
        home.write(_RESTORING, wanted.model_dump_json().encode())
    elif begun.source != source:
        raise BackupError(f"{settings.home} is half restored from {begun.source}: finish that first.")
    elif begun != wanted:
        name = next(name for name, place in wanted.targets.items() if begun.targets.get(name) != place)
        raise BackupError(
            f"The restore into {settings.home} began with {begun.targets.get(name)} and not {wanted.targets[name]} as "
            f"the place of {name}: finish it with the settings of then."
        )

    def copy(name: str) -> None:
        prefix, folder = next((p, f) for p, f in folders.items() if name.startswith(f"{p}/"))
        folder.write(name.removeprefix(f"{prefix}/"), _verified(origin, name, manifest.files[name]))

    # A table begins to exist with its log, so that comes after its data.
    names = sorted(manifest.files.keys() - {_REGISTRY}, key=lambda name: ("/_delta_log/" in name, name))
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(copy, names))
    for folder in folders.values():
        folder.remove_parts()
    lake = Lake.from_settings(settings)
    for table, version in manifest.tables.items():
        if lake.version(table) != version:
            raise BackupError(f"{table} has version {lake.version(table)} and not {version} as in the backup.")
    if manifest.registry and database is not None:
        content = _verified(origin, _REGISTRY, manifest.files[_REGISTRY])
        _write_registry(content, database, manifest.artifact_root, settings.mlflow_artifact_root)
    home.remove(_RESTORING)
    return manifest


def unfinished_restore(settings: Settings) -> Restoring | None:
    """The restore into this home that was interrupted; None where there is none."""
    marker = settings.home / _RESTORING
    return Restoring.model_validate_json(marker.read_text()) if marker.exists() else None


def _folders(settings: Settings) -> dict[str, str]:
    """Folders of a backup, and where each has its place."""
    return {
        "lake": settings.lake_uri,
        "mlflow/artifacts": settings.mlflow_artifacts,
        "reports": settings.reports_uri,
        "catalog": settings.catalog_uri,
    }


def _plan(settings: Settings, tables: Mapping[str, int]) -> tuple[dict[str, tuple[Folder, str]], set[str]]:
    """Where each file of the backup is now, by its name in it; and names of those without which it would be none."""
    plan: dict[str, tuple[Folder, str]] = {}
    needed: set[str] = set()
    lake = Lake.from_settings(settings)
    for table, version in tables.items():
        folder = Folder(lake.path(table), settings)
        newest, everything = _files_of_table(folder, version)
        needed |= {f"lake/{table}/{path}" for path in newest}
        plan |= {f"lake/{table}/{path}": (folder, path) for path in everything}
    for name, uri in _folders(settings).items():
        if name != "lake":
            folder = Folder(uri, settings)
            plan |= {f"{name}/{path}": (folder, path) for path in folder.files()}
    return plan, needed


def _files_of_table(folder: Folder, version: int) -> tuple[set[str], set[str]]:
    """Files that a version consists of, and all that belong to it and to the versions before, its log included."""
    stored = folder.files()
    log = {path for path in stored if (found := version_of(path)) is not None and found <= version}
    newest: set[str] = set()
    older: set[str] = set()
    for commit in read_log(folder.read, log):
        newest = (newest - commit.files("remove")) | commit.files("add")
        older |= commit.files("add")
    return newest | log, newest | log | (older & stored.keys())


def _copy(content: bytes, target: Folder, name: str) -> File:
    target.write(name, content)
    return File(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _remove_others(folder: Folder, names: AbstractSet[str]) -> None:
    """Remove what an interrupted backup has left behind."""
    for path in folder.files().keys() - names:
        folder.remove(path)


def _snapshot(database: Path) -> bytes:
    """A SQLite file as it is at one moment, by SQLite's online backup; writers go on."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        with (
            closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy.read_bytes()


def _write_registry(content: bytes, database: Path, old_root: str, new_root: str) -> None:
    """Put the registry in place whole, with its artefacts where they are now: MLflow keeps absolute addresses."""
    database.parent.mkdir(parents=True, exist_ok=True)
    part = database.with_name(f"{database.name}.part")
    part.write_bytes(content)
    with closing(sqlite3.connect(part)) as connection, connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for column in [row[1] for row in connection.execute(f'pragma table_info("{table}")')]:
                connection.execute(
                    f'update "{table}" set "{column}" = replace("{column}", ?1, ?2) where instr("{column}", ?1)',
                    (f"{old_root}/", f"{new_root}/"),
                )
    os.replace(part, database)


def _read_manifest(origin: Folder, settings: Settings) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(origin.read(MANIFEST))
    except FileNotFoundError:
        why = "it was interrupted" if _UNFINISHED in origin.files() else f"it has no {MANIFEST}"
        raise BackupError(f"{origin.uri} is no whole backup: {why}.") from None
    except ValidationError as error:
        raise BackupError(f"{origin.uri}/{MANIFEST} cannot be read: {error.errors()[0]['msg']}.") from None
    if any(".." in PurePosixPath(name).parts for name in manifest.files):
        raise BackupError(f"{origin.uri}/{MANIFEST} names files outside of the backup.")
    known = tuple(f"{folder}/" for folder in _folders(settings))
    if strange := [name for name in manifest.files if name != _REGISTRY and not name.startswith(known)]:
        raise BackupError(f"{origin.uri}/{MANIFEST} names {strange[0]}, which has no place in a home.")
    if manifest.registry != (_REGISTRY in manifest.files):
        raise BackupError(f"{origin.uri}/{MANIFEST} contradicts itself about {_REGISTRY}.")
    return manifest


def _verified(origin: Folder, name: str, file: File) -> bytes:
    content = origin.read(name)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise BackupError(f"{origin.uri}/{name} is damaged: it is not what was backed up.")
    return content


def _refuse_what_is_there(folders: Mapping[str, Folder], database: Path | None) -> None:
    full = [folder.uri for folder in folders.values() if folder.files()]
    full += [str(database)] if database is not None and database.exists() else []
    if full:
        raise BackupError(f"{full[0]} is there already: a backup is restored into an empty place, see LAKEHOUSE_HOME.")
