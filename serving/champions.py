"""Which version of each registered model is the champion, read from the MLflow registry without importing MLflow."""

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

ALIAS = "champion"
_TIMEOUT_SECONDS = 2.0
# MLflow keeps models apart by workspace; the ones that clients see without asking for another are here.
_WORKSPACE = "default"


class RegistryError(RuntimeError):
    """The registry cannot be read now, or its kind of address is not one that this process can read."""


@dataclass(frozen=True)
class Champion:
    """The version that the alias `champion` of a registered model points at.

    Attributes
    ----------
    version : version number as text, as the predictions table has it.
    run_id : MLflow run that trained it; None when it was registered without one.
    created_at : when the version was registered, UTC.
    tags : the tags of the version.
    """

    name: str
    version: str
    run_id: str | None
    created_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)


def read_champions(tracking_uri: str) -> dict[str, Champion]:
    """Champions by model name; models without the alias are left out.

    Parameters
    ----------
    tracking_uri : `sqlite:///<file>` or the `http(s)://` address of an MLflow server.

    Raises
    ------
    RegistryError : not reachable, not yet there, or another kind of address.
    """
    kind = urlsplit(tracking_uri).scheme or "file"
    try:
        if kind == "sqlite":
            found = _from_sqlite(tracking_uri)
        elif kind in ("http", "https"):
            found = list(_from_server(tracking_uri.rstrip("/")))
        else:  # the address itself may hold a password, so only its kind is named
            raise RegistryError(
                f"a registry of kind '{kind}' cannot be read here: "
                "set MLFLOW_TRACKING_URI to sqlite:///<file> or to the http(s) address of an MLflow server"
            )
    except (sqlite3.Error, OSError, ValueError, KeyError) as error:
        raise RegistryError(f"{kind} registry: {error}") from error
    return {champion.name: champion for champion in found}


def _from_sqlite(uri: str) -> list[Champion]:
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if not Path(path).is_file():
        raise RegistryError("the sqlite registry does not exist yet")
    location = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    with closing(sqlite3.connect(location, uri=True, timeout=_TIMEOUT_SECONDS)) as connection:
        connection.execute("BEGIN")  # one read transaction: alias and tags belong together
        versions = connection.execute(
            """
            SELECT a.name, a.version, v.run_id, v.creation_time
            FROM registered_model_aliases a
            JOIN model_versions v USING (workspace, name, version)
            WHERE a.alias = ? AND a.workspace = ?
            """,
            (ALIAS, _WORKSPACE),
        ).fetchall()
        tags: dict[tuple[str, int], dict[str, str]] = {}
        for name, version, key, value in connection.execute(
            "SELECT name, version, key, value FROM model_version_tags WHERE workspace = ?", (_WORKSPACE,)
        ):
            tags.setdefault((name, version), {})[key] = value
    return [
        Champion(name, str(version), run_id, _from_milliseconds(created), tags.get((name, version), {}))
        for name, version, run_id, created in versions
    ]


def _from_server(address: str) -> Iterator[Champion]:
    page: dict[str, str] = {}
    while True:
        answer = _get(address, "registered-models/search", {"max_results": "200", **page})
        for model in answer.get("registered_models", []):
            if any(alias["alias"] == ALIAS for alias in model.get("aliases", [])):
                query = {"name": model["name"], "alias": ALIAS}
                found = _get(address, "registered-models/alias", query)["model_version"]
                yield Champion(
                    found["name"],
                    str(found["version"]),
                    found.get("run_id") or None,
                    _from_milliseconds(int(found["creation_timestamp"])),
                    {tag["key"]: tag["value"] for tag in found.get("tags", [])},
                )
        if not answer.get("next_page_token"):
            return
        page = {"page_token": answer["next_page_token"]}


def _get(address: str, path: str, query: dict[str, str]) -> dict[str, Any]:
    url = f"{address}/api/2.0/mlflow/{path}?{urlencode(query)}"
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _from_milliseconds(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)
