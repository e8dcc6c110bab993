"""dbt-duckdb plugin: dbt's in-memory DuckDB sees the lake tables as views, and the materialization `delta` writes them.

One snapshot of the lake per dbt invocation: every table is pinned to the version that it had when dbt connected, and a
model to the version that dbt has just written.
"""

import pyarrow as pa
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from duckdb import DuckDBPyConnection

from lake import calendars, duck, recursion
from lake.settings import get_settings
from lake.store import Lake
from lake.tables import TABLES


class Plugin(BasePlugin):
    """The lake of the settings, as dbt sees it."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Show the lake on a new connection. Raw tables are created first: a missing source would stop the build."""
        self._connection = conn
        settings = get_settings()
        conn.execute(
            "set global temp_directory = ?", [str(settings.home / "tmp")]
        )  # else spills into the caller's folder
        self._lake = Lake.from_settings(settings)
        for table in TABLES:
            if table.startswith("raw/"):
                self._lake.create(table)
        versions = {table: self._lake.version(table) for table in self._lake.tables()}
        duck.prepare(conn, self._lake, {table: v for table, v in versions.items() if v is not None})
        recursion.register(conn)
        calendars.register(conn)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set what a cursor does not inherit from its connection."""
        cursor.execute("set timezone = 'UTC'")

    def store(self, target_config: TargetConfig) -> None:
        """Replace a lake table by the rows of a relation, in one commit, and show the new version under its name.

        Nothing is written when the lake holds the same rows already, so an unchanged table keeps its version.

        Parameters
        ----------
        target_config : `relation` is read, `location.path` names the lake table (`market/bars`), and of the model's
            `config` its `partition_by` is used when the table is created.
        """
        assert target_config.location is not None
        table = target_config.location.path
        with self._connection.cursor() as cursor:
            self.configure_cursor(cursor)
            rows = cursor.execute(f"select * from {target_config.relation} order by all").to_arrow_table()
            version = self._lake.version(table)
            if version is None or _fingerprint(cursor, rows) != self._stored_fingerprint(cursor, table, version):
                version = self._lake.replace(table, rows, partition_by=target_config.config.get("partition_by"))
            duck.define_view(cursor, self._lake, table, version)

    def _stored_fingerprint(self, cursor: DuckDBPyConnection, table: str, version: int) -> object:
        duck.define_view(cursor, self._lake, table, version)
        return _fingerprint(cursor, cursor.execute(f"from {table.replace('/', '.')}").to_arrow_table())


def _fingerprint(cursor: DuckDBPyConnection, rows: pa.Table) -> object:
    """Equal for tables with the same columns and the same rows, in whatever order."""
    columns = sorted(rows.column_names)
    types = [str(rows.schema.field(name).type) for name in columns]
    content = cursor.execute(f"select count(*), sum(hash({', '.join(columns)})) from rows").fetchone()
    return columns, types, content
