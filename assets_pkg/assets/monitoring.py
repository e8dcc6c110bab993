"""monitoring: whether the newest sessions still look like those that the models have learnt from."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets_pkg.assets.market import DAILY, FEATURES
from assets_pkg.conditions import FOLLOW_UPSTREAM
from assets_pkg.metadata import column_schema, picture, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.tables import DATA_DRIFT

_KEY = dg.AssetKey(DATA_DRIFT.name.split("/"))


@dg.multi_asset(
    name="monitoring__data_drift",
    specs=[
        dg.AssetSpec(
            _KEY,
            description=DATA_DRIFT.description,
            group_name="monitoring",
            owners=["team:quantitative-research"],
            kinds={"python", "delta"},
            deps=[FEATURES.split("/")],
            metadata={"dagster/column_schema": column_schema(DATA_DRIFT.schema)},
            automation_condition=FOLLOW_UPSTREAM,
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "no_drift",
            asset=_KEY,
            description="No monitor is further from the past than one past window in a hundred was.",
        )
    ],
    pool="monitoring",
)
def data_drift(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> Iterator[dg.MaterializeResult[Any]]:
    """Measure the drift, keep Evidently's report of this run, and raise one warning where it is out of the ordinary."""
    from lake.files import Folder
    from monitoring import drift, reports

    lake, settings = lakehouse.lake, lakehouse.settings
    features = lake.read(FEATURES, columns=list(drift.COLUMNS), filters=DAILY).to_pandas()
    try:
        report = drift.data_drift(features)
    except drift.NotEnoughHistoryError as error:
        lake.create(DATA_DRIFT.name)
        warning = dg.AssetCheckResult(
            check_name="no_drift",
            asset_key=_KEY,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{error}",
        )
        yield table_result(lake, DATA_DRIFT.name, check_results=[warning])
        return
    files = reports.write(report, Folder(settings.reports_uri, settings), context.run_id)
    reports.store(report, lake, context.run_id)
    check = dg.AssetCheckResult(
        check_name="no_drift",
        asset_key=_KEY,
        passed=not report.alarm,
        severity=dg.AssetCheckSeverity.WARN,
        description=report.summary,
        metadata={monitor.column: monitor.exceedance for monitor in report.monitors},
    )
    extra = {
        "summary": report.summary,
        "report": dg.MetadataValue.url(
            f"{_api_address(settings.host, settings.api_port)}/reports/data_drift/{context.run_id}.html"
        ),
        "report file": dg.MetadataValue.path(files.html),
        "drift": picture(reports.plot(report)),
    }
    yield table_result(lake, DATA_DRIFT.name, extra, check_results=[check])


def _api_address(host: str, port: int) -> str:
    return f"http://{'localhost' if host in {'0.0.0.0', '127.0.0.1'} else host}:{port}"
