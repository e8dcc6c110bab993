"""market: what dbt builds, current bars, indicators and model features; dbt's tests become asset checks."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets

from assets_pkg.conditions import CHECK_WITH_ASSET, FOLLOW_IN_DBT
from assets_pkg.metadata import data_version, picture, shown_table, table_metadata
from assets_pkg.resources.dbt import DbtResource
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.findings import FINDINGS, worst_findings
from lake.store import Lake

FEATURES = "market/features"
"""The table that models, forecasts and monitoring read."""

DAILY = pc.field("interval") == "1d"
"""The rows of it that they read: their horizons and windows are sessions."""


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
            kinds={"dbt", "duckdb", "delta"},
            automation_condition=FOLLOW_IN_DBT,
        )

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """The check that dagster-dbt derives; automation runs what has a condition, so tests of models get one."""
        check = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        if check is None or asset_spec.group_name == "raw":
            return check
        return check._replace(automation_condition=CHECK_WITH_ASSET)


def market_assets(manifest: Path) -> dg.AssetsDefinition:
    """The dbt models of a manifest as assets."""
    translator = Translator(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))

    @dbt_assets(manifest=manifest, dagster_dbt_translator=translator, name="market", pool="dbt")
    def market(context: dg.AssetExecutionContext, dbt: DbtResource, lakehouse: LakehouseResource) -> Iterator[Any]:
        with tempfile.TemporaryDirectory(prefix="dbt-") as target:
            invocation = dbt.cli(
                ["build", "--exclude-resource-type", "unit_test"], context=context, target_path=Path(target)
            )
            # A failure is raised at the end of the stream: tell first what came before it.
            failure: Exception | None = None
            events: list[Any] = []
            try:
                events.extend(invocation.stream())
            except Exception as error:
                failure = error
            written = _written(Path(target) / "run_results.json")
            for event in events:
                yield _with_lake_metadata(context, lakehouse.lake, event, written)
            if failure is not None:
                raise failure

    return market


def _written(run_results: Path) -> dict[str, dict[str, Any]]:
    """What dbt says that each model has written, by the id of the model; nothing where dbt did not get so far."""
    if not run_results.exists():
        return {}
    results = json.loads(run_results.read_text())["results"]
    return {
        result["unique_id"]: {
            "rewritten rows": result["adapter_response"]["rows_affected"],
            "rewritten": result["adapter_response"]["_message"],
        }
        for result in results
        if "rows_affected" in result["adapter_response"]
    }


def _with_lake_metadata(
    context: dg.AssetExecutionContext, lake: Lake, event: Any, written: Mapping[str, dict[str, Any]]
) -> Any:
    if not isinstance(event, dg.Output):
        return event
    table = "/".join(context.asset_key_for_output(event.output_name).path)
    model = str(event.metadata["unique_id"].value)
    metadata = {**event.metadata, **table_metadata(lake, table), **written.get(model, {})}
    if table == "market/indicators":
        metadata["price and indicators"] = picture(_overview(lake))
    elif table in FINDINGS:
        metadata["findings"] = shown_table(worst_findings(lake, table))
    return dg.Output(event.value, event.output_name, metadata=metadata, data_version=data_version(lake, table))


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
