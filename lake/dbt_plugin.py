"""dbt-duckdb plugin: dbt's in-memory DuckDB sees the lake tables as views, and the materialization `delta` writes to them.

One snapshot of the lake per dbt invocation: every table is pinned to the version it had when dbt connected, and a model
to the version that dbt has just written.
"""

import pyarrow as pa
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from duckdb import DuckDBPyConnection

from lake import duck, recursion
from lake.settings import get_settings
from lake.store import Lake
from lake.tables import TABLES


class Plugin(BasePlugin):
    """The lake of the settings, as dbt sees it."""

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Show the lake on a new connection. Raw tables are created first: a missing source would stop the build."""
        self._connection = conn
        self._lake = Lake.from_settings(get_settings())
        for table in TABLES:
            if table.startswith("raw/"):
                self._lake.create(table)
        versions = {table: self._lake.version(table) for table in self._lake.tables()}
        duck.prepare(conn, self._lake, {table: v for table, v in versions.items() if v is not None})
        recursion.register(conn)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """A cursor does not inherit its connection's time zone."""
        cursor.execute("set timezone = 'UTC'")

    def store(self, target_config: TargetConfig) -> None:
        """Replace a lake table by the rows of a relation, in one commit, and show the new version.

        Nothing is written when the lake holds the same rows already, so an unchanged table keeps its version.

        Parameters
        ----------
        target_config : `relation` to read, `location.path` the lake table (`market/bars`), and the model's `config`,
            of which `partition_by` is used.
        """
        assert target_config.location is not None
        table = target_config.location.path
        with self._connection.cursor() as cursor:
            self.configure_cursor(cursor)
            rows = cursor.execute(f"select * from {target_config.relation} order by all").to_arrow_table()
            version = self._lake.version(table)
            if version is None or not self._holds(cursor, table, rows):
                partition_by = target_config.config.get("partition_by", [])
                version = self._lake.replace(table, rows, partition_by=partition_by)
            duck.define_view(cursor, self._lake, table, version)

    def _holds(self, cursor: DuckDBPyConnection, table: str, rows: pa.Table) -> bool:
        """Whether a lake table has the same columns and the same set of rows."""
        duck.define_view(cursor, self._lake, table)
        view = cursor.table(table.replace("/", "."))
        if set(zip(view.columns, map(str, view.types), strict=True)) != _columns(cursor, rows):
            return False
        row = f"row({', '.join(rows.column_names)})"
        new, old = (
            cursor.execute(f"select count(*), sum(hash({row})) from {relation}").fetchone()
            for relation in ("rows", table.replace("/", "."))
        )
        return bool(new == old)


def _columns(cursor: DuckDBPyConnection, rows: pa.Table) -> set[tuple[str, str]]:
    relation = cursor.from_arrow(rows)
    return set(zip(relation.columns, map(str, relation.types), strict=True))
