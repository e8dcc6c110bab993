"""upkeep: the lake's own housekeeping, every Sunday: small files become large ones, useless ones are deleted."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets_pkg.metadata import column_schema, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.tables import COMPACTION, INTERVAL_STATE, VACUUM

_OWNERS = ["team:data-engineering"]
_VACUUM = dg.AssetKey(VACUUM.name.split("/"))


@dg.asset(
    key=COMPACTION.name.split("/"),
    description=COMPACTION.description,
    group_name="upkeep",
    owners=_OWNERS,
    kinds={"python", "delta"},
    deps=[INTERVAL_STATE.name.split("/")],  # the end of the graph: what a run has just written is compacted, too
    metadata={"dagster/column_schema": column_schema(COMPACTION.schema)},
    pool="upkeep",
)
def compaction(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Compact every table that has many small files."""
    from lake import upkeep

    lake = lakehouse.lake
    done = [upkeep.compact(lake, table) for table in lake.tables()]
    upkeep.record(lake, COMPACTION, done, datetime.now(UTC), context.run.run_id)
    saved = sum(row.files_before - row.files_after for row in done)
    extra = {"files saved": saved, "skipped": [row.table for row in done if row.outcome == upkeep.SKIPPED]}
    return table_result(lake, COMPACTION.name, extra)


@dg.multi_asset(
    name="upkeep__vacuum",
    specs=[
        dg.AssetSpec(
            _VACUUM,
            description=VACUUM.description,
            group_name="upkeep",
            owners=_OWNERS,
            kinds={"python", "delta", "mlflow"},
            deps=[COMPACTION.name.split("/")],
            metadata={"dagster/column_schema": column_schema(VACUUM.schema)},
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "pinned_versions_readable",
            asset=_VACUUM,
            description="Every version that a registered model or a forecast was made from can still be read.",
        )
    ],
    pool="upkeep",
)
def vacuum(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> Iterator[dg.MaterializeResult[Any]]:
    """Vacuum every table, except for what models and forecasts were made from, or what remembers a past state."""
    from lake import upkeep
    from ml.pins import pinned_versions
    from ml.registry import Registry

    lake, settings = lakehouse.lake, lakehouse.settings
    pins = pinned_versions(lake, Registry(settings))
    kept = {table: pins.get(table, set()) | upkeep.remembering_versions(settings, table) for table in lake.tables()}
    done = [upkeep.vacuum(settings, table, versions, settings.retention_hours) for table, versions in kept.items()]
    upkeep.record(lake, VACUUM, done, datetime.now(UTC), context.run.run_id)
    lost = {row.table: row.pins_lost for row in done if row.pins_lost}
    check = dg.AssetCheckResult(
        check_name="pinned_versions_readable",
        asset_key=_VACUUM,
        passed=not lost,
        metadata={"lost": dg.MetadataValue.json(lost)},
    )
    extra = {
        "files deleted": sum(row.files_deleted for row in done),
        "bytes deleted": sum(row.bytes_deleted for row in done),
        "skipped": [row.table for row in done if row.outcome == upkeep.SKIPPED],
    }
    yield table_result(lake, VACUUM.name, extra, check_results=[check])
