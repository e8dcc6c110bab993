"""What every materialisation tells: rows, columns, the lake version it wrote, and a picture where people would look."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Any

import dagster as dg
import pyarrow as pa

from lake.store import Lake
from lake.tables import field_description

NEW_BATCHES = "new batches"
"""Metadata of `raw/batches`: ids of the batches that have brought rows since its materialisation before."""


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Dagster's table schema of an Arrow schema, with the descriptions that its fields carry."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                field.name,
                str(field.type),
                description=field_description(field) or None,
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )


def table_metadata(lake: Lake, table: str) -> dict[str, Any]:
    """Row count, version and place of a lake table as it is now."""
    return {
        "dagster/row_count": lake.row_count(table),
        "dagster/uri": lake.path(table),
        "lake_version": lake.version(table),
    }


def lineage_metadata(sql: str, tables: Mapping[str, Sequence[str]], dialect: str) -> dict[str, Any]:
    """Column lineage of a query over lake tables (their columns by name), or the reason why there is none."""
    from lake.column_lineage import column_lineage

    try:
        origins = column_lineage(sql, tables, dialect)
    except ValueError as error:
        return {"column lineage": str(error)}
    dependencies = {
        column: [dg.TableColumnDep(dg.AssetKey(table.split("/")), name) for table, name in found]
        for column, found in origins.items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(dependencies)}


def data_version(lake: Lake, table: str) -> dg.DataVersion:
    """The table's Delta version, so that Dagster sees whether a materialisation changed anything."""
    return dg.DataVersion(str(lake.version(table)))


def table_result(
    lake: Lake, table: str, extra: Mapping[str, Any] | None = None, **options: Any
) -> dg.MaterializeResult[Any]:
    """Result of an asset that has just written the lake table of the same name."""
    return dg.MaterializeResult(
        asset_key=dg.AssetKey(table.split("/")),
        metadata={**table_metadata(lake, table), **(extra or {})},
        data_version=data_version(lake, table),
        **options,
    )


def picture(png: bytes) -> dg.MetadataValue:
    """A PNG shown in the asset's metadata."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")


def shown_table(rows: Sequence[Mapping[str, Any]], most: int = 20) -> dg.MetadataValue:
    """The first rows as a table in the UI, and how many more there are (long Markdown would hide behind a link)."""
    if not rows:
        return dg.MetadataValue.text("none")
    columns = list(rows[0])
    records = [dg.TableRecord({name: _cell(row[name]) for name in columns}) for row in rows[:most]]
    if len(rows) > most:
        rest = dict.fromkeys(columns, "") | {columns[0]: f"... and {len(rows) - most:,} more"}
        records.append(dg.TableRecord(rest))
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in columns]))


def findings_warning(
    found: Sequence[Mapping[str, Any]], counted: str, shown: str = "findings", **options: Any
) -> dg.AssetCheckResult:
    """A check that warns of findings: it names their symbols, counts them as `counted` and lists them as `shown`."""
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=", ".join(dict.fromkeys(row["symbol"] for row in found[:20])) or None,
        metadata={counted: len(found), shown: shown_table(found)},
        **options,
    )


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}" if value.time() == time() else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
