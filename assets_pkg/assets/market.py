"""market: what dbt builds, current bars, indicators and model features; dbt's tests become asset checks."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtProject,
    dbt_assets,
)
from pydantic import Field

from assets_pkg.conditions import CHECK_WITH_ASSET, FOLLOW_IN_DBT
from assets_pkg.metadata import data_version, lineage_metadata, picture, shown_table, table_metadata
from assets_pkg.resources.dbt import DbtResource
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.findings import FINDINGS, worst_findings
from lake.store import Lake

FEATURES = "market/features"
"""The table that models, forecasts and monitoring read."""

DAILY = pc.field("interval") == "1d"
"""The rows of it that they read: their horizons and windows are sessions."""


class BuildConfig(dg.Config):
    """What a run may ask of dbt."""

    full_refresh: bool = Field(default=False, description="Build the tables anew instead of what has changed.")


class Translator(DagsterDbtTranslator):
    """A dbt model or source `x` in schema `s` is the asset `s/x` in group `s`, and the lake table `s/x`."""

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """The spec that dagster-dbt derives, with our key, group, kinds and automation."""
        props = self.get_resource_props(manifest, unique_id)
        spec = super().get_asset_spec(manifest, unique_id, project)
        return spec.replace_attributes(
            key=[props["schema"], props["name"]],
            group_name=props["schema"],
            owners=["team:analytics-engineering"],
            kinds={"dbt", manifest["metadata"]["adapter_type"], "delta"},
            automation_condition=FOLLOW_IN_DBT,
        )

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """The check that dagster-dbt derives; automation runs what has a condition, so tests of models get one.

        It depends on its model only: a test that reads raw/instruments too would be asked for alone, amid the raw step.
        """
        check = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if check is None or asset_spec.group_name == "raw":
            return check
        return check._replace(automation_condition=CHECK_WITH_ASSET, additional_deps=[])


def market_assets(manifest: Path) -> dg.AssetsDefinition:
    """The dbt models of a manifest as assets."""
    translator = Translator(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name="market", pool="dbt")
    def market(
        context: dg.AssetExecutionContext, config: BuildConfig, dbt: DbtResource, lakehouse: LakehouseResource
    ) -> Iterator[Any]:
        arguments = ["build", "--exclude-resource-type", "unit_test"]
        if config.full_refresh:
            arguments.append("--full-refresh")
        with tempfile.TemporaryDirectory(prefix="dbt-") as target:
            invocation = dbt.cli(arguments, context=context, target_path=Path(target))
            # Told while dbt goes on: it costs no time of its own, and a failure, raised at the end, hides nothing.
            for told in invocation.stream_raw_events():
                for event in told.to_default_asset_events(
                    invocation.manifest, translator, context, invocation.target_path
                ):
                    if isinstance(event, dg.Output):
                        yield _with_lake_metadata(event, lakehouse.lake, invocation, told.raw_event["data"])
                    else:
                        yield event

    return market


def _with_lake_metadata(
    built: dg.Output[Any], lake: Lake, invocation: DbtCliInvocation, result: Mapping[str, Any]
) -> dg.Output[Any]:
    manifest = invocation.manifest
    model = manifest["nodes"][result["node_info"]["unique_id"]]
    table = f"{model['schema']}/{model['name']}"
    sql = invocation.target_path / "compiled" / model["package_name"] / model["original_file_path"]
    columns = {f"{it['schema']}/{it['name']}": list(it["columns"]) for it in _tables(manifest)}
    written = dict(re.findall(r"(\w+): (\d+)", result["status"]))  # `rows: 50, removed: 0, slices: 1` of macro `delta`
    metadata = {
        **built.metadata,
        **table_metadata(lake, table),
        **lineage_metadata(sql.read_text(), columns, manifest["metadata"]["adapter_type"]),
        "rewritten rows": int(written["rows"]),
        "removed rows": int(written["removed"]),
        "rewritten": result["status"],
    }
    if table == "market/indicators":
        metadata["price and indicators"] = picture(_overview(lake))
    elif table in FINDINGS:
        metadata["findings"] = shown_table(worst_findings(lake, table))
    return dg.Output(built.value, built.output_name, metadata=metadata, data_version=data_version(lake, table))


def _tables(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from manifest["sources"].values()
    yield from (node for node in manifest["nodes"].values() if node["resource_type"] == "model")


def _overview(lake: Lake) -> bytes:
    from lake.duck import connect
    from ml.plots import symbol_overview

    with connect(lake) as connection:
        frame = connection.sql(
            """
            select symbol, ts, close_adj, sma_50, bb_upper_20, bb_lower_20, rsi_14, macd, macd_signal
            from market.indicators join market.bars using (symbol, interval, ts)
            where interval = '1d' and symbol = (
                select min(symbol) from market.bars
                where interval = '1d' and ts = (select max(ts) from market.bars where interval = '1d')
            )
            order by ts
            """
        ).df()
    return symbol_overview(frame, frame["symbol"].iloc[0])
