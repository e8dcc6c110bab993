"""DuckDB as a stateless engine: in-memory connections that see every lake table as a view. No shared database file."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import duckdb

from lake.s3 import is_remote
from lake.store import Lake


def connect(lake: Lake, versions: Mapping[str, int] | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory connection in which table `market/bars` reads as `market.bars`.

    Parameters
    ----------
    versions : lake table to the version that its view shows; newest where absent.
    """
    connection = duckdb.connect(":memory:")
    prepare(connection, lake, versions)
    return connection


def prepare(connection: duckdb.DuckDBPyConnection, lake: Lake, versions: Mapping[str, int] | None = None) -> None:
    """Load the Delta extension from its wheel and define a view for every table of the lake."""
    connection.execute("set global timezone = 'UTC'")
    _load(connection, "delta")
    if is_remote(lake.uri):
        _load(connection, "httpfs")
        _create_secret(connection, lake)
    for table in lake.tables():
        define_view(connection, lake, table, (versions or {}).get(table))


def define_view(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, version: int | None = None) -> None:
    """(Re)define the view of one lake table, pinned to `version` when it is given."""
    group, name = table.split("/")
    pin = "" if version is None else f", version => {version}"
    connection.execute(f'create schema if not exists "{group}"')
    connection.execute(
        f'create or replace view "{group}"."{name}" as select * from delta_scan({_literal(lake.path(table))}{pin})'
    )


def _load(connection: duckdb.DuckDBPyConnection, extension: str) -> None:
    spec = find_spec(f"duckdb_extension_{extension}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"package duckdb-extension-{extension} is not installed")
    (binary,) = Path(spec.origin).parent.glob(f"extensions/*/{extension}.duckdb_extension")
    connection.execute(f"load {_literal(str(binary))}")


def _create_secret(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    options = lake.storage_options or {}
    endpoint = options.get("AWS_ENDPOINT_URL", "")
    parameters = {
        "key_id": options.get("AWS_ACCESS_KEY_ID"),
        "secret": options.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": options.get("AWS_SESSION_TOKEN"),
        "region": options.get("AWS_REGION", "us-east-1"),
        "endpoint": endpoint.split("://")[-1] or None,
        "url_style": "path" if endpoint else None,
    }
    given = ", ".join(f"{name} {_literal(value)}" for name, value in parameters.items() if value)
    use_ssl = str(not endpoint.startswith("http://")).lower()
    connection.execute(f"create or replace secret lake (type s3, {given}, use_ssl {use_ssl})")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
