"""raw: bars as the sources delivered them, what was rejected, and the ledger of both."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow.compute as pc
from pydantic import Field

from assets_pkg.checks.raw import RAW_CHECKS, check_flags, check_raw, check_sources
from assets_pkg.metadata import NEW_BATCHES, column_schema, shown_table, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.calendars import write_sessions
from lake.store import Lake
from lake.tables import TABLES

if TYPE_CHECKING:
    from lake.ingest import BatchResult
    from lake.sources.failover import Report

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
    _spec("raw/flags", set(), ["raw/instruments"]),
    _spec("raw/resolutions", set(), ["raw/rejects"]),
    _spec("raw/batches", set(), ["raw/instruments"]),
    _spec("raw/requests", set(), ["raw/instruments"]),
]


class Backfill(dg.Config):
    """A past range to ask the live sources for."""

    start: str = Field(description="First session: 2020-01-01.")
    end: str | None = Field(default=None, description="Last session. Default: yesterday.")
    symbols: list[str] = Field(default=[], description="Some of the live symbols. Default: all of LAKEHOUSE_SOURCES.")
    interval: str = Field(default="1d", description="1d, 1h or 1m.")
    again: bool = Field(default=False, description="Ask for what an earlier backfill has brought too.")


class RawConfig(dg.Config):
    """What a run brings in: what is new, or a past range instead."""

    backfill: Backfill | None = None


@dg.multi_asset(
    name="raw",
    specs=_SPECS,
    check_specs=RAW_CHECKS,
    pool="raw",
)
def raw(
    context: dg.AssetExecutionContext, config: RawConfig, lakehouse: LakehouseResource
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Bring in the embedded prices, what the settings ask of others, every file that has landed; or a past range."""
    from lake.ingest import close_interrupted_batches

    lake = lakehouse.lake
    if config.backfill:
        reports = [_backfill(context, lakehouse, config.backfill)]
        batches = reports[0].batches
    else:
        reports, batches = _increment(lakehouse)
    batches = [*batches, *close_interrupted_batches(lake)]
    for batch in batches:
        context.log.info(str(batch))
    write_sessions(lake)
    shown: dict[str, dict[str, Any]] = {
        "raw/batches": {
            "batches": shown_table([vars(batch) for batch in batches]),
            NEW_BATCHES: dg.MetadataValue.json(_new_batches(context, lake, batches)),
        },
        "raw/flags": {"newest": _flags_table(lake)},
    }
    for table in ("/".join(spec.key.path) for spec in _SPECS):
        found = [report for report in reports if report.table == table and (report.delivered or report.failures)]
        sources = {"sources": _sources_table(found)} if found else {}
        yield table_result(lake, table, shown.get(table, {}) | sources)
    yield from check_raw(lake)
    yield check_flags(batches)
    yield check_sources(reports)


def _backfill(context: dg.AssetExecutionContext, lakehouse: LakehouseResource, config: Backfill) -> "Report":
    from lake.backfill import backfill

    return backfill(
        lakehouse.lake,
        lakehouse.settings,
        date.fromisoformat(config.start),
        date.fromisoformat(config.end) if config.end else None,
        symbols=config.symbols,
        interval=config.interval,
        again=config.again,
        say=context.log.info,
    )


def _increment(lakehouse: LakehouseResource) -> tuple[list["Report"], list["BatchResult"]]:
    from lake.ingest import ingest, ingest_source
    from lake.landing import Landing
    from lake.sources import EMBEDDED, EMBEDDED_ROWS
    from lake.sources.failover import ingest_live, ingest_live_rows
    from lake.sources.synthetic import ingest_synthetic

    settings, lake = lakehouse.settings, lakehouse.lake
    reports = [ingest_live(lake, settings), *ingest_live_rows(lake, settings)]
    batches = [batch for report in reports for batch in report.batches]
    batches += [ingest_source(lake, source, settings.universe_symbols) for source in EMBEDDED.values()]
    for rows in EMBEDDED_ROWS.values():
        batches.append(ingest(lake, rows.fetch((), None, None), rows.name, rows.origin, table=rows.table))
    batches += ingest_synthetic(lake, settings.synthetic)
    batches += Landing(settings).ingest(lake)
    return reports, batches


def _new_batches(context: dg.AssetExecutionContext, lake: Lake, batches: "Sequence[BatchResult]") -> list[str]:
    """Batches that have brought something since the last materialisation: those of runs that failed after it, too."""
    last = context.instance.get_latest_materialization_event(dg.AssetKey(["raw", "batches"]))
    since = datetime.fromtimestamp(last.timestamp if last else 0, UTC)
    unseen = (pc.field("ingested_at") > since) & ((pc.field("accepted") > 0) | (pc.field("rejected") > 0))
    ours = [batch.batch_id for batch in batches if batch.accepted or batch.rejected]
    return list(dict.fromkeys([*ours, *lake.read("raw/batches", ["batch_id"], unseen)["batch_id"].to_pylist()]))


def _sources_table(reports: "Sequence[Report]") -> dg.MetadataValue:
    """Which source each symbol or series came from, those first where something failed."""
    rows = []
    for report in reports:
        for name in sorted({*report.delivered, *report.failures}, key=lambda name: (name not in report.failures, name)):
            found = report.delivered.get(name)
            rows.append(
                {
                    "symbol or series": name,
                    "source": found.source if found else "none",
                    "rows": f"{found.rows:,}" if found else "0",
                    "tried in vain": "; ".join(report.failures.get(name, ())),
                }
            )
    return shown_table(rows)


def _flags_table(lake: Lake) -> dg.MetadataValue:
    newest = lake.read("raw/flags").sort_by([("flagged_at", "descending"), ("ts", "descending")]).to_pylist()
    columns = ("symbol", "interval", "ts", "rule", "reason")
    return shown_table([{name: flag[name] for name in columns} for flag in newest])
