"""dbt-spark's adapter on the lake: what lake/dbt_plugin.py is to dbt-duckdb.

It starts the session that shows the lake, and the materialization `delta` (macros/delta_spark.sql) writes through it.
"""

from typing import Any

import dbt.adapters.spark
from dbt.adapters.base import AdapterPlugin, available
from dbt.adapters.contracts.connection import Connection
from dbt.adapters.spark import SparkConnectionManager, SparkRelation
from pyspark.sql import SparkSession

from lake import spark
from lake.settings import get_settings
from lake.store import Lake


class LakeRelation(SparkRelation):
    """The temporary view `` `market.bars` ``: Spark keeps temporary views in no schema."""

    def render(self) -> str:
        """As SQL names it."""
        name = super().render()
        return f"`{name}`" if "." in name else name


class LakeConnections(SparkConnectionManager):
    """Connections to the session of this process, which shows the lake of the settings."""

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        """Start Spark for the first connection; parsing needs none."""
        settings = get_settings()
        if SparkSession.getActiveSession() is None:
            spark.connect(Lake.from_settings(settings), settings.home / "tmp")
        return super().open(connection)


class SparkAdapter(dbt.adapters.spark.SparkAdapter):
    """dbt-spark's adapter on the lake; dbt takes its type from the name of the class."""

    Relation = LakeRelation
    ConnectionManager = LakeConnections

    @available
    def store(self, table: str, sql: str, config: dict[str, Any]) -> dict[str, Any]:
        """Make a lake table say what a query says, and show the new version under its name."""
        settings = get_settings()
        lake, session = Lake.from_settings(settings), SparkSession.builder.getOrCreate()
        rows = session.sql(sql)
        key, partition_by = config["unique_key"], config["partition_by"]
        staged = spark.stage(rows, lake, table, key, partition_by)
        version = staged.commit()
        staged.discard()
        spark.show(session, lake, table, version)
        return {"rows": lake.row_count(table), "slices": 1}


def install() -> None:
    """Let dbt, in this process, take this adapter for dbt-spark's."""
    plugin = dbt.adapters.spark.Plugin
    dbt.adapters.spark.Plugin = AdapterPlugin(SparkAdapter, plugin.credentials, plugin.include_path)
