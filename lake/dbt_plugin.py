"""dbt-duckdb plugin: dbt's in-memory DuckDB sees the lake tables as views, and the materialization `delta` writes them.

One snapshot of the lake per dbt invocation: every table is pinned to the version that it had when dbt connected, and a
model to the version that dbt has just written. With the variable `as_of` the snapshot is what was known at that time.
"""

import os
from datetime import datetime
from threading import Lock
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig
from dbt_common.exceptions import DbtRuntimeError
from dbt_common.invocation import get_invocation_id
from deltalake.exceptions import DeltaError
from duckdb import DuckDBPyConnection

from lake import duck
from lake.derived import register_functions
from lake.evidence import DAGSTER_RUN
from lake.increments import DuplicateKeysError, Engine, Model, OvertakenError, build
from lake.settings import get_settings
from lake.store import Lake, Snapshot
from lake.tables import TABLES
from lake.untested import remember_tested, untested


class Plugin(BasePlugin):
    """The lake of the settings, as dbt sees it."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Take from the profile the time `as_of` which the lake is shown; empty: now."""
        as_of = plugin_config.get("as_of")
        self._as_of: datetime | None = duck.utc_time(as_of) if as_of else None
        self._predicates: dict[tuple[str, Snapshot], str] = {}  # of untested rows
        self._asking = Lock()
        self._engine: Engine | None = None

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        """Show the lake on a new connection. Raw tables are created first: a missing source would stop the build."""
        self._connection = conn
        settings = get_settings()
        conn.execute(
            "set global temp_directory = ?", [str(settings.home / "tmp")]
        )  # else spills into the caller's folder
        self._lake = Lake.from_settings(settings)
        self._lake.made_by["dbt_invocation_id"] = get_invocation_id()
        if dagster_run_id := os.environ.get(DAGSTER_RUN):
            self._lake.made_by["dagster_run_id"] = dagster_run_id
        for table in TABLES:
            if table.startswith("raw/"):
                self._lake.create(table)
        self._snapshots = {
            table: snapshot for table in self._lake.tables() if (snapshot := self._lake.snapshot(table)) is not None
        }
        versions = {table: snapshot.version for table, snapshot in self._snapshots.items()}
        duck.prepare(conn, self._lake, versions, self._as_of)
        register_functions(conn)

    def compute_with(self, engine: Engine) -> None:
        """Let another engine compute the SQL of models; it is shown the same lake."""
        self._engine = engine
        for table, snapshot in self._snapshots.items():
            engine.show(table, snapshot.version)

    def configure_cursor(self, cursor: DuckDBPyConnection) -> None:
        """Set what a cursor does not inherit from its connection."""
        cursor.execute("set timezone = 'UTC'")

    def store(self, target_config: TargetConfig) -> None:
        """What macros ask for; `location.path` names the lake table, `location.format` what to do with it.

        Parameters
        ----------
        target_config : of the dictionary `config` macros read the result.
            `build` : bring the table up to date; `config` has, as `model`, the other attributes of
            :class:`lake.increments.Model`, and `full_refresh`; `rows`, `removed` and `slices` become the numbers of
            what was written.
            `untested` : `predicate` becomes the condition on the rows that tests have to read.
            `tested` : remember that all tests of the table have passed.

        Raises
        ------
        DbtRuntimeError : the SQL fails, two rows have the same key, or a past state of knowledge is shown.
        """
        assert target_config.location is not None
        table, config = target_config.location.path, target_config.config
        if target_config.location.format == "build":
            self._build(table, config)
        elif table in self._snapshots and self._as_of is None:
            if target_config.location.format == "untested":
                config["predicate"] = self._untested(table)
            else:
                remember_tested(self._lake, table, self._snapshots[table])

    def _untested(self, table: str) -> str:
        with self._asking, self._connection.cursor() as cursor:
            self.configure_cursor(cursor)
            known = table, self._snapshots[table]
            if known not in self._predicates:
                self._predicates[known] = untested(cursor, self._lake, *known)
            return self._predicates[known]

    def _build(self, table: str, config: dict[str, Any]) -> None:
        if self._as_of is not None:
            raise DbtRuntimeError(f"{table} as of {self._as_of} is not written: the lake keeps what is known now")
        model = Model(table=table, **config["model"])
        with self._connection.cursor() as cursor:
            self.configure_cursor(cursor)
            try:
                options = {"engine": self._engine, "full_refresh": config["full_refresh"]}
                written = build(cursor, self._lake, model, self._snapshots, **options)
            except (duckdb.Error, DeltaError, DuplicateKeysError, OvertakenError) as error:
                raise DbtRuntimeError(str(error)) from error
            config |= written._asdict()
            snapshot = self._lake.snapshot(table, written.version)
            assert snapshot is not None
            if snapshot != self._snapshots.get(table):
                self._snapshots[table] = snapshot
                duck.define_view(cursor, self._lake, table, snapshot.version)
                if self._engine:
                    self._engine.show(table, snapshot.version)
