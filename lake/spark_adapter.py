"""dbt-spark's adapter on the lake: lake/dbt_plugin.py builds the tables as for dbt-duckdb, and Spark computes them."""

from typing import Any

import dbt.adapters.spark
import duckdb
from dbt.adapters.base import AdapterPlugin, available
from dbt.adapters.contracts.connection import Connection
from dbt.adapters.duckdb.utils import TargetConfig, TargetLocation
from dbt.adapters.spark import SparkConnectionManager, SparkRelation
from dbt_common.exceptions import DbtRuntimeError

from lake import spark
from lake.dbt_plugin import Plugin
from lake.settings import get_settings
from lake.store import Lake


class LakeRelation(SparkRelation):
    """The temporary view `` `market.bars` ``: Spark keeps temporary views in no schema."""

    def render(self) -> str:
        """As SQL names it."""
        name = super().render()
        return f"`{name}`" if "." in name else name


class LakeConnections(SparkConnectionManager):
    """Connections to the session of this process, which shows the lake as it is when the first of them is opened."""

    plugin: Plugin | None = None

    def open(self, connection: Connection) -> Connection:
        """Start Spark for the first connection; parsing needs none."""
        if self.plugin is None:
            if self.profile.cli_vars.get("as_of"):
                raise DbtRuntimeError("Spark shows what is known now: with as_of, LAKEHOUSE_ENGINE has to be duckdb")
            settings = get_settings()
            self.plugin = Plugin("lake", {})
            self.plugin.configure_connection(duckdb.connect(":memory:"))
            session = spark.connect(settings.home / "tmp")
            self.plugin.compute_with(spark.SparkEngine(session, Lake.from_settings(settings)))
        return super().open(connection)


class SparkAdapter(dbt.adapters.spark.SparkAdapter):
    """dbt-spark's adapter on the lake; dbt takes its type from the name of the class."""

    Relation = LakeRelation
    ConnectionManager = LakeConnections

    @available
    def store_relation(
        self, *, relation: LakeRelation, path: str, format: str, config: dict[str, Any], **_: Any
    ) -> None:
        """As the adapter of dbt-duckdb has it, so that the macros need not know which one they call."""
        self.connections.plugin.store(TargetConfig(relation, [], config, TargetLocation(path=path, format=format)))


def install() -> None:
    """Let dbt, in this process, take this adapter for dbt-spark's."""
    plugin = dbt.adapters.spark.Plugin
    dbt.adapters.spark.Plugin = AdapterPlugin(SparkAdapter, plugin.credentials, plugin.include_path)
