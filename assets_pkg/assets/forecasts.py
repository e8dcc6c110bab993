"""forecasts: what the champions say of the newest session of every symbol."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets_pkg.assets.market import FEATURES
from assets_pkg.conditions import FOLLOW_UPSTREAM
from assets_pkg.metadata import column_schema, picture, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.tables import GARCH, PREDICTIONS


@dg.asset(
    key=PREDICTIONS.name.split("/"),
    description=PREDICTIONS.description,
    group_name="forecasts",
    owners=["team:quantitative-research"],
    kinds={"onnx", "delta"},
    deps=[
        FEATURES.split("/"),
        GARCH.name.split("/"),
        ["models", "return_5d_champion"],
        ["models", "volatility_5d_champion"],
    ],
    metadata={"dagster/column_schema": column_schema(PREDICTIONS.schema)},
    automation_condition=FOLLOW_UPSTREAM,
    pool="forecasts",
)
def predictions(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Forecast with the champions; a forecast that is known already is not written again."""
    from ml import plots
    from ml.forecasting import forecast, store
    from ml.inputs import read_inputs
    from ml.registry import Registry

    lake, registry = lakehouse.lake, Registry(lakehouse.settings)
    features, lake_versions = read_inputs(lake)
    champions = {target: registry.champion(target) for target in ("return_5d", "volatility_5d")}
    missing = [target for target, model in champions.items() if model is None]
    if missing:
        raise dg.Failure(f"no champion of {', '.join(missing)}; materialise models/{missing[0]}_champion first")
    return_model, volatility_model = champions["return_5d"], champions["volatility_5d"]
    assert return_model is not None
    assert volatility_model is not None
    scaled_by = return_model.conformal.scaled_by
    table = forecast(
        features,
        return_model,
        volatility_model,
        scale_model=registry.load(*scaled_by) if scaled_by else None,
        lake_versions=lake_versions,
        dagster_run_id=context.run_id,
        now=datetime.now(UTC),
    )
    written = store(lake, table)
    extra = {
        "forecasts": table.num_rows,
        "newly written": written,
        "newest session": str(max(table["as_of"].to_pylist()).date()),
        "return_5d version": return_model.version,
        "volatility_5d version": volatility_model.version,
        "forecasts by symbol": picture(plots.forecasts(table)),
    }
    return table_result(lake, PREDICTIONS.name, extra)
