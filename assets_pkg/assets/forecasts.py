"""forecasts: what the champions say of the newest sessions, what came of it, and what the intervals learn from that."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from assets_pkg.assets.market import FEATURES
from assets_pkg.conditions import FOLLOW_UPSTREAM
from assets_pkg.metadata import column_schema, picture, shown_table, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.tables import GARCH, INTERVAL_STATE, PREDICTIONS, SCORES

_COMMON: dict[str, Any] = {
    "group_name": "forecasts",
    "owners": ["team:quantitative-research"],
    "automation_condition": FOLLOW_UPSTREAM,
    "pool": "forecasts",
}


@dg.asset(
    key=PREDICTIONS.name.split("/"),
    description=PREDICTIONS.description,
    kinds={"onnx", "delta"},
    deps=[
        FEATURES.split("/"),
        GARCH.name.split("/"),
        ["models", "return_5d_champion"],
        ["models", "volatility_5d_champion"],
    ],
    metadata={"dagster/column_schema": column_schema(PREDICTIONS.schema)},
    **_COMMON,
)
def predictions(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Forecast with the champions and challengers; a forecast that is known already is not written again.

    The intervals follow the newest `forecasts/interval_state` that was known at each session, which earlier runs wrote.
    """
    from ml import plots
    from ml.deployments import deployments
    from ml.forecasting import forecast, store
    from ml.inputs import read_inputs
    from ml.registry import Registry

    lake, registry = lakehouse.lake, Registry(lakehouse.settings)
    features, lake_versions = read_inputs(lake)
    try:
        deployed = deployments(lake, registry)
    except LookupError as error:
        raise dg.Failure(str(error)) from error
    table = forecast(
        features,
        deployed,
        lake_versions=lake_versions,
        dagster_run_id=context.run_id,
        now=datetime.now(UTC),
    )
    written = store(lake, table)
    newest = table.filter(pc.invert(table["backfilled"]))
    extra = {
        "forecasts": newest.num_rows,
        "newly written": written,
        "newest session": str(max(table["as_of"].to_pylist()).date()),
        **{f"{d.model.name} {d.role}": f"version {d.model.version}" for d in deployed},
        "forecasts by symbol": picture(plots.forecasts(newest.filter(pc.equal(newest["role"], "champion")))),
    }
    return table_result(lake, PREDICTIONS.name, extra)


@dg.asset(
    key=SCORES.name.split("/"),
    description=SCORES.description,
    kinds={"python", "delta"},
    deps=[PREDICTIONS.name.split("/"), ["market", "bars"]],
    metadata={"dagster/column_schema": column_schema(SCORES.schema)},
    check_specs=[
        dg.AssetCheckSpec(
            "intervals_cover",
            asset=SCORES.name.split("/"),
            description="The champions' 90 % intervals hold 90 % of the outcomes of the newest 60 sessions, give or "
            "take 5 points and luck. It takes 40 sessions to say.",
        )
    ],
    **_COMMON,
)
def scores(lakehouse: LakehouseResource) -> Iterator[dg.MaterializeResult[Any]]:
    """Score the forecasts whose outcome has become known; compare versions on what happened."""
    from ml import plots, scoring

    lake = lakehouse.lake
    written = scoring.update(lake)
    table = lake.read(SCORES.name).to_pandas()
    found = scoring.coverage(table)
    check = dg.AssetCheckResult(
        check_name="intervals_cover",
        passed=not any(row["credibly off"] for row in found),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"coverage": shown_table(found)},
    )
    extra = {
        "newly written": written,
        "by version": shown_table(scoring.by_version(table)),
        "champion against challenger": shown_table(scoring.compare(table)),
        **({"scores by session": picture(plots.scores(table))} if len(table) else {}),
    }
    yield table_result(lake, SCORES.name, extra, check_results=[check])


@dg.asset(
    key=INTERVAL_STATE.name.split("/"),
    description=INTERVAL_STATE.description,
    kinds={"python", "delta"},
    deps=[SCORES.name.split("/")],
    metadata={"dagster/column_schema": column_schema(INTERVAL_STATE.schema)},
    **_COMMON,
)
def interval_state(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Learn from the scores; the next forecasts of each version have the intervals of its newest state."""
    from ml.interval_state import update

    lake = lakehouse.lake
    written = update(lake, dagster_run_id=context.run_id, now=datetime.now(UTC))
    return table_result(lake, INTERVAL_STATE.name, {"versions that have learned": written})
