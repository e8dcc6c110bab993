"""raw: bars as the sources delivered them, what was rejected, and the ledger of both."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets_pkg.checks.raw import RAW_CHECKS, check_raw, check_sources
from assets_pkg.metadata import NEW_BATCHES, column_schema, markdown_table, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.calendars import write_sessions
from lake.ingest import ingest_source
from lake.landing import Landing
from lake.sources import EMBEDDED
from lake.tables import TABLES

_OWNERS = ["team:data-engineering"]


def _spec(table: str, kinds: set[str], deps: list[str] | None = None) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=table.split("/"),
        description=TABLES[table].description,
        group_name="raw",
        owners=_OWNERS,
        kinds={"python", "delta", *kinds},
        deps=[dep.split("/") for dep in deps or []],
        metadata={"dagster/column_schema": column_schema(TABLES[table].schema)},
    )


_SPECS = [
    _spec("raw/instruments", set()),
    _spec("raw/bars", {"pandera"}, ["raw/instruments"]),
    _spec("raw/sessions", set(), ["raw/bars", "raw/instruments"]),
    _spec("raw/corporate_actions", {"pandera"}, ["raw/instruments"]),
    _spec("raw/macro", set()),
    _spec("raw/fundamentals", set()),
    _spec("raw/news", set()),
    _spec("raw/readings", set(), ["raw/instruments"]),
    _spec("raw/rejects", {"pandera"}, ["raw/instruments"]),
    _spec("raw/resolutions", set(), ["raw/rejects"]),
    _spec("raw/batches", set(), ["raw/instruments"]),
]


@dg.multi_asset(
    name="raw",
    specs=_SPECS,
    check_specs=RAW_CHECKS,
    pool="raw",
)
def raw(
    context: dg.AssetExecutionContext, lakehouse: LakehouseResource
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Bring in the embedded prices, what the settings ask of others, and every file in the landing folder."""
    from lake.sources.failover import ingest_live, ingest_macro
    from lake.sources.synthetic import ingest_synthetic

    settings, lake = lakehouse.settings, lakehouse.lake
    reports = [ingest_live(lake, settings), ingest_macro(lake, settings)]
    batches = [ingest_source(lake, source, settings.universe_symbols) for source in EMBEDDED.values()]
    batches += [batch for report in reports for batch in report.batches]
    batches += ingest_synthetic(lake, settings.synthetic)
    batches += Landing(settings).ingest(lake)
    for batch in batches:
        context.log.info(str(batch))
    write_sessions(lake)
    new = [batch.batch_id for batch in batches if batch.accepted or batch.rejected]
    ledger = {
        "batches": markdown_table([vars(batch) for batch in batches], most=len(batches)),
        NEW_BATCHES: dg.MetadataValue.json(new),
    }
    for table in ("/".join(spec.key.path) for spec in _SPECS):
        yield table_result(lake, table, ledger if table == "raw/batches" else None)
    yield from check_raw(lake)
    yield check_sources(reports)
