"""dbt-duckdb plugin: dbt's in-memory DuckDB sees the lake tables as views, and the materialization `delta` writes them.

One snapshot of the lake per dbt invocation: every table is pinned to the version that it had when dbt connected, and a
model to the version that dbt has just written. With the variable `as_of` the snapshot is what was known at that time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from dbt_common.exceptions import DbtRuntimeError
from duckdb import DuckDBPyConnection

from lake import duck
from lake.derived import register_functions
from lake.settings import get_settings
from lake.slices import changed_slices
from lake.store import Lake
from lake.tables import TABLES


class Plugin(BasePlugin):
    """The lake of the settings, as dbt sees it."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Take from the profile the time `as_of` which the lake is shown; empty: now."""
        as_of = plugin_config.get("as_of")
        self._as_of: datetime | None = duck.utc_time(as_of) if as_of else None

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
        duck.prepare(conn, self._lake, {table: v for table, v in versions.items() if v is not None}, self._as_of)
        register_functions(conn)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set what a cursor does not inherit from its connection."""
        cursor.execute("set timezone = 'UTC'")

    def store(self, target_config: TargetConfig) -> None:
        """Make a lake table say what a relation says, in one commit, and show the new version under its name.

        Only the slices in which something changed are written; a table in which nothing did keeps its version. A new
        table, and one with other columns than before, is written whole.

        Parameters
        ----------
        target_config : `relation` is read; `location.path` names the lake table (`market/bars`). Of the dictionary
            `config`, `unique_key` tells the rows apart and `partition_by` partitions the table; `rows` and `slices` are
            set to the numbers of what was written.

        Raises
        ------
        DbtRuntimeError : two rows have the same key, or the relation shows a past state of knowledge.
        """
        assert target_config.location is not None
        table, config = target_config.location.path, target_config.config
        if self._as_of is not None:
            raise DbtRuntimeError(f"{table} as of {self._as_of} is not written: the lake keeps what is known now")
        key, partition_by = config["unique_key"], config["partition_by"]
        with self._connection.cursor() as cursor:
            self.configure_cursor(cursor)
            cursor.execute(f"create temp table new as select * from {target_config.relation}")
            _refuse_duplicates(cursor, table, key)
            version = self._lake.version(table)
            if version is not None:
                cursor.execute(f"create temp view old as {duck.scan(self._lake, table, version)}")
            if version is None or _columns(cursor, "new") != _columns(cursor, "old"):
                predicate, config["slices"] = None, 1
            else:
                slices = changed_slices(cursor, "new", "old", key, partition_by)
                predicate, config["slices"] = " or ".join(slices), len(slices)
            config["rows"] = 0
            if config["slices"]:
                rows = cursor.execute(f"from new where {predicate or 'true'} order by all").to_arrow_table()
                version = self._lake.replace(table, rows, predicate, partition_by)
                config["rows"] = rows.num_rows
            duck.define_view(cursor, self._lake, table, version)


def _refuse_duplicates(cursor: DuckDBPyConnection, table: str, key: Sequence[str]) -> None:
    columns = ", ".join(key)
    twice = cursor.execute(f"select {columns} from new group by all having count(*) > 1 order by all").fetchall()
    if twice:
        raise DbtRuntimeError(
            f"{table} is left as it was: {len(twice)} of its keys ({columns}) would have several rows"
        )


def _columns(cursor: DuckDBPyConnection, relation: str) -> set[tuple[str, str]]:
    return set(cursor.execute(f"select column_name, column_type from (describe {relation})").fetchall())
