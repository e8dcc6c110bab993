"""DuckDB as a stateless engine: in-memory connections that see every lake table as a view. No shared database file."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa

from lake.s3 import is_remote
from lake.store import Lake
from lake.tables import TABLES


def connect(
    lake: Lake, versions: Mapping[str, int] | None = None, as_of: datetime | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory connection in which table `market/bars` reads as `market.bars`.

    Parameters
    ----------
    versions : lake table to the version that its view shows; newest where absent.
    as_of : show the lake as it was known at this time; see :func:`define_view`.
    """
    connection = duckdb.connect(":memory:")
    prepare(connection, lake, versions, as_of)
    return connection


def prepare(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    versions: Mapping[str, int] | None = None,
    as_of: datetime | None = None,
) -> None:
    """Load the Delta extension from its wheel and define a view for every table of the lake."""
    connection.execute("set global timezone = 'UTC'")
    _load(connection, "delta")
    if is_remote(lake.uri):
        _load(connection, "httpfs")
        _create_secret(connection, lake)
    for table in lake.tables():
        define_view(connection, lake, table, (versions or {}).get(table), as_of)


def define_view(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: str,
    version: int | None = None,
    as_of: datetime | None = None,
) -> None:
    """(Re)define the view of one lake table, pinned to `version` when it is given.

    As of a time, a bitemporal table shows the rows that were known by then. Of any other table the view shows the
    version that was the newest then, if the lake still keeps it, and no rows if the table did not exist yet.
    """
    rows = scan(lake, table, version)
    if as_of is not None:
        spec = TABLES.get(table)
        if spec is not None and spec.known_since:
            rows = f"{rows} where {spec.known_since} <= timestamptz '{as_of.isoformat()}'"
        else:
            then = lake.version_at(table, as_of)
            rows = f"{rows} where false" if then is None else scan(lake, table, then)
    create_view(connection, table, rows)


def create_view(connection: duckdb.DuckDBPyConnection, table: str, query: str) -> None:
    """(Re)define the view that has a lake table's name."""
    group, _ = table.split("/")
    connection.execute(f'create schema if not exists "{group}"')
    connection.execute(f"create or replace view {relation(table)} as {query}")


def relation(table: str) -> str:
    """Name of the view of a lake table."""
    group, name = table.split("/")
    return f'"{group}"."{name}"'


def scan(lake: Lake, table: str, version: int | None = None) -> str:
    """SQL that reads one lake table, pinned to `version` when it is given."""
    pin = "" if version is None else f", version => {version}"
    return f"select * from delta_scan({literal(lake.path(table))}{pin})"


def utc_time(text: str) -> datetime:
    """A time as people write it, in ISO 8601; without a zone it is UTC, and a day alone is its first moment.

    Raises
    ------
    ValueError : it is not a time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"'{text}' is not a time; write 2026-11-01, 2026-11-01T12:00 (in UTC) or 2026-11-01T12:00+01:00"
        ) from None
    return time.replace(tzinfo=time.tzinfo or UTC)


def select(sql: str, **tables: pa.Table) -> pa.Table:
    """Rows of a query over Arrow tables, each under its name."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(sql).to_arrow_table()


def _load(connection: duckdb.DuckDBPyConnection, extension: str) -> None:
    spec = find_spec(f"duckdb_extension_{extension}")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"package duckdb-extension-{extension} is not installed")
    (binary,) = Path(spec.origin).parent.glob(f"extensions/*/{extension}.duckdb_extension")
    connection.execute(f"load {literal(str(binary))}")


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
    given = ", ".join(f"{name} {literal(value)}" for name, value in parameters.items() if value)
    use_ssl = str(not endpoint.startswith("http://")).lower()
    connection.execute(f"create or replace secret lake (type s3, {given}, use_ssl {use_ssl})")


def literal(value: object) -> str:
    """A value as it is written in SQL, for DuckDB and for delta-rs."""
    if isinstance(value, bool | int):
        return str(value)
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return "'" + text.replace("'", "''") + "'"
