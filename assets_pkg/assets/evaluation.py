"""evaluation: what the forecasts are worth, for people who look at it in Dagster."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets_pkg.conditions import FOLLOW_UPSTREAM
from assets_pkg.metadata import column_schema, picture, shown_table, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.tables import EVALUATION


@dg.asset(
    key=EVALUATION.name.split("/"),
    description=EVALUATION.description,
    group_name="models",
    owners=["team:quantitative-research"],
    kinds={"python", "delta"},
    deps=[["models", "volatility_5d"], ["models", "return_5d"]],
    metadata={"dagster/column_schema": column_schema(EVALUATION.schema)},
    automation_condition=FOLLOW_UPSTREAM,
)
def evaluation(lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Score the held-out forecasts of the newest training; show them, and the newest walk-forward if there is one."""
    from ml.evaluation import plots
    from ml.evaluation.results import HELD_OUT, WALK_FORWARD, held_out, replace

    lake = lakehouse.lake
    replace(lake, HELD_OUT, held_out(lake), None, datetime.now(UTC))
    table = lake.read(EVALUATION.name).to_pandas()
    overall = table.loc[table["grouping"] == "all"].sort_values(["target", "metric", "value"])
    shown = ["target", "model", "metric", "value", "lower", "upper", "forecasts"]
    extra: dict[str, Any] = {}
    for evidence, references in ((HELD_OUT, ("baseline", "baseline")), (WALK_FORWARD, ("ewma", "historical_mean"))):
        rows = table.loc[table["evidence"] == evidence]
        if len(rows):
            own = overall.loc[overall["evidence"] == evidence, shown]
            extra[f"{evidence}, overall"] = shown_table(own.to_dict("records"), most=100)
            for target, reference in zip(("volatility_5d", "return_5d"), references, strict=True):
                extra[f"{evidence}: loss of {target} saved"] = picture(plots.gains(rows, target, reference))
    return table_result(lake, EVALUATION.name, extra)
