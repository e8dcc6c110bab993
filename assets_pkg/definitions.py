"""The code location: every asset, check, job, schedule and sensor of the lineage graph."""

from collections.abc import Mapping
from typing import Any

import dagster as dg


def build_definitions(overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions, with some resources replaced by `overrides` (by name)."""
    from assets_pkg.assets import catalog, evaluation, forecasts, monitoring, raw, upkeep
    from assets_pkg.assets.market import market_assets
    from assets_pkg.assets.models import MODELS
    from assets_pkg.automation import SCHEDULES, SENSORS, backfill_job, ingest_job, upkeep_job
    from assets_pkg.checks.market import MARKET_CHECKS
    from assets_pkg.resources.dbt import dbt_resource, ensure_manifest
    from assets_pkg.resources.lakehouse import LakehouseResource
    from assets_pkg.resources.mlflow import MlflowResource

    resources = {"lakehouse": LakehouseResource(), "dbt": dbt_resource(), "mlflow": MlflowResource()}
    everything = dg.define_asset_job(
        "everything", selection=dg.AssetSelection.all(), description="The whole graph, sources to drift report."
    )
    return dg.Definitions(
        assets=[
            raw.raw,
            market_assets(ensure_manifest()),
            *MODELS,
            evaluation.evaluation,
            forecasts.predictions,
            forecasts.scores,
            forecasts.interval_state,
            monitoring.data_drift,
            catalog.dbt_docs,
            upkeep.compaction,
            upkeep.vacuum,
        ],
        asset_checks=MARKET_CHECKS,
        jobs=[everything, ingest_job, backfill_job, upkeep_job],
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={**resources, **(overrides or {})},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_definitions()
