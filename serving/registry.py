"""The MLflow registry as this process reads it, without importing MLflow: models, aliases, versions and their files."""

import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

CHAMPION, CHALLENGER = "champion", "challenger"
_SHARE = "challenger_share"
_TIMEOUT_SECONDS = 2.0
# A server is asked for the details of a version it has told already no more often than this.
_DETAILS_SECONDS = 10.0
# MLflow keeps models apart by workspace; the ones that clients see without asking for another are here.
_WORKSPACE = "default"


class RegistryError(RuntimeError):
    """The registry cannot be read now, or its kind of address is not one that this process can read."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model.

    Attributes
    ----------
    version : version number as text, as the predictions table has it.
    run_id : MLflow run that trained it; None when it was registered without one.
    created_at : when it was registered, UTC.
    location : URI of the folder of its files.
    """

    name: str
    version: str
    run_id: str | None
    created_at: datetime
    location: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model and the versions that its aliases point at.

    Attributes
    ----------
    challenger_share : share of the symbols that the challenger serves (0: it only forecasts in the shadow);
        None where there is no challenge.
    """

    name: str
    aliases: Mapping[str, RegisteredVersion]
    challenger_share: float | None = None


class Registry(Protocol):
    """A registry at one address."""

    def models(self) -> list[RegisteredModel]:
        """All models, each with its aliases of champion and challenger."""

    def version(self, name: str, version: str) -> RegisteredVersion | None:
        """One version; None where there is none."""


def open_registry(tracking_uri: str) -> Registry:
    """The registry at `sqlite:///<file>`, at `postgresql://...` or behind the `http(s)://` address of an MLflow server.

    Its methods raise `RegistryError` while it cannot be read.
    """
    kind = urlsplit(tracking_uri).scheme or "file"
    if kind in ("http", "https"):
        return _Server(tracking_uri.rstrip("/"), kind)
    if kind == "sqlite":
        return _Database(lambda: _sqlite(tracking_uri), "?", kind)
    if kind.partition("+")[0] in ("postgresql", "postgres"):
        return _Database(lambda: _postgresql(tracking_uri), "%s", "postgresql")
    # The address itself may hold a password, so only its kind is named.
    return _Database(lambda: _unknown(kind), "?", kind)


class _Database:
    """MLflow's own tables, read in one transaction that can write nothing."""

    def __init__(self, connect: Callable[[], Any], placeholder: str, kind: str) -> None:
        self._connect, self._placeholder, self._kind = connect, placeholder, kind

    def models(self) -> list[RegisteredModel]:
        with self._reading() as execute:
            found = execute(
                """
                SELECT a.name, a.alias, v.version, v.run_id, v.creation_time, v.storage_location, v.source
                FROM registered_model_aliases a
                JOIN model_versions v ON v.workspace = a.workspace AND v.name = a.name AND v.version = a.version
                WHERE a.alias IN (?, ?) AND a.workspace = ?
                """,
                (CHAMPION, CHALLENGER, _WORKSPACE),
            )
            tags = _grouped(
                execute("SELECT name, version, key, value FROM model_version_tags WHERE workspace = ?", (_WORKSPACE,))
            )
            shares = dict(
                execute(
                    "SELECT name, value FROM registered_model_tags WHERE workspace = ? AND key = ?",
                    (_WORKSPACE, _SHARE),
                )
            )
            names = execute("SELECT name FROM registered_models WHERE workspace = ?", (_WORKSPACE,))
        aliases: dict[str, dict[str, RegisteredVersion]] = {name: {} for (name,) in names}
        for name, alias, *version in found:
            aliases[name][alias] = _version(name, version, tags)
        return [RegisteredModel(name, versions, _share(shares.get(name))) for name, versions in aliases.items()]

    def version(self, name: str, version: str) -> RegisteredVersion | None:
        if not version.isdecimal():
            return None
        key = (_WORKSPACE, name, int(version))
        where = "WHERE workspace = ? AND name = ? AND version = ?"
        with self._reading() as execute:
            found = execute(
                f"SELECT version, run_id, creation_time, storage_location, source FROM model_versions {where}", key
            )
            tags = _grouped(execute(f"SELECT name, version, key, value FROM model_version_tags {where}", key))
        return _version(name, found[0], tags) if found else None

    @contextmanager
    def _reading(self) -> Iterator[Callable[[str, tuple[object, ...]], list[Any]]]:
        try:
            with closing(self._connect()) as connection:
                yield lambda sql, parameters: connection.execute(
                    sql.replace("?", self._placeholder), parameters
                ).fetchall()
        except RegistryError:
            raise
        except Exception as error:  # whatever a driver raises
            reason = str(error).strip().partition("\n")[0]
            raise RegistryError(f"{self._kind} registry: {reason}") from error


def _sqlite(uri: str) -> sqlite3.Connection:
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if not Path(path).is_file():
        raise RegistryError("the sqlite registry does not exist yet")
    location = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    connection = sqlite3.connect(location, uri=True, timeout=_TIMEOUT_SECONDS)
    connection.execute("BEGIN")  # one state of alias, version and tags
    return connection


def _postgresql(uri: str) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise RegistryError("a registry in PostgreSQL needs `pip install '.[postgres]'`") from error
    address = "postgresql" + uri[uri.index("://") :]  # without SQLAlchemy's name of a driver
    milliseconds = int(_TIMEOUT_SECONDS * 1000)
    connection = psycopg.connect(
        address, connect_timeout=int(_TIMEOUT_SECONDS), options=f"-c statement_timeout={milliseconds}"
    )
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


def _unknown(kind: str) -> Any:
    raise RegistryError(
        f"a registry of kind '{kind}' cannot be read here: set MLFLOW_TRACKING_URI to sqlite:///<file>, "
        "postgresql://... or the http(s) address of an MLflow server"
    )


class _Server:
    """An MLflow server, by REST."""

    def __init__(self, address: str, kind: str) -> None:
        self._address, self._kind = address, kind
        self._known: dict[tuple[str, str], tuple[float, RegisteredVersion]] = {}

    def models(self) -> list[RegisteredModel]:
        with self._reading():
            return list(self._search())

    def version(self, name: str, version: str) -> RegisteredVersion | None:
        with self._reading():
            try:
                return self._details(name, version)
            except urllib.error.HTTPError as error:
                if error.code in (400, 404):
                    return None
                raise

    def _search(self) -> Iterator[RegisteredModel]:
        page: dict[str, str] = {}
        while True:
            answer = self._get("registered-models/search", {"max_results": "200", **page})
            for model in answer.get("registered_models", []):
                aliases = {a["alias"]: str(a["version"]) for a in model.get("aliases", [])}
                versions = {
                    alias: self._cached(model["name"], aliases[alias])
                    for alias in (CHAMPION, CHALLENGER)
                    if alias in aliases
                }
                tags = {tag["key"]: tag["value"] for tag in model.get("tags", [])}
                yield RegisteredModel(model["name"], versions, _share(tags.get(_SHARE)))
            if not answer.get("next_page_token"):
                return
            page = {"page_token": answer["next_page_token"]}

    def _cached(self, name: str, version: str) -> RegisteredVersion:
        read_at, found = self._known.get((name, version), (0.0, None))
        if found is None or time.monotonic() - read_at > _DETAILS_SECONDS:
            found = self._details(name, version)
            self._known[(name, version)] = (time.monotonic(), found)
        return found

    def _details(self, name: str, version: str) -> RegisteredVersion:
        query = {"name": name, "version": version}
        found = self._get("model-versions/get", query)["model_version"]
        return RegisteredVersion(
            name=name,
            version=str(found["version"]),
            run_id=found.get("run_id") or None,
            created_at=_from_milliseconds(int(found["creation_timestamp"])),
            location=self._get("model-versions/get-download-uri", query)["artifact_uri"],
            tags={tag["key"]: tag["value"] for tag in found.get("tags", [])},
        )

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        url = f"{self._address}/api/2.0/mlflow/{path}?{urlencode(query)}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            raise RegistryError(f"{self._kind} registry: {error}") from error


def _grouped(rows: Iterable[tuple[str, int, str, str]]) -> dict[tuple[str, int], dict[str, str]]:
    grouped: dict[tuple[str, int], dict[str, str]] = {}
    for name, version, key, value in rows:
        grouped.setdefault((name, version), {})[key] = value
    return grouped


def _version(name: str, row: Iterable[Any], tags: Mapping[tuple[str, int], dict[str, str]]) -> RegisteredVersion:
    version, run_id, created, storage_location, source = row
    return RegisteredVersion(
        name=name,
        version=str(version),
        run_id=run_id or None,
        created_at=_from_milliseconds(created),
        location=storage_location or source,
        tags=tags.get((name, version), {}),
    )


def _share(value: str | None) -> float | None:
    """The tag as a share from 0 to 1; what is none counts as the shadow only, so that a typing error serves nobody."""
    if value is None:
        return None
    try:
        share = float(value)
    except ValueError:
        return 0.0
    return share if 0 <= share <= 1 else 0.0


def _from_milliseconds(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)
