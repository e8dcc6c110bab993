"""models: two targets, each trained, evaluated and registered, then put before a gate that names the champion."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from assets_pkg.assets.market import DAILY, FEATURES
from assets_pkg.checks.upstream import failed_checks_upstream
from assets_pkg.conditions import FOLLOW_UPSTREAM, RETRAIN
from assets_pkg.metadata import column_schema, picture, shown_table, table_result
from assets_pkg.resources.lakehouse import LakehouseResource
from assets_pkg.resources.mlflow import MlflowResource
from assets_pkg.versions import code_version
from lake.files import Folder
from lake.tables import AUDIT, GARCH, SEGMENTS, decision_spec, evaluation_spec

_OWNERS = ["team:quantitative-research"]
_INPUTS = [FEATURES.split("/"), GARCH.name.split("/")]


@dg.asset(
    key=GARCH.name.split("/"),
    description=GARCH.description,
    group_name="models",
    owners=_OWNERS,
    kinds={"python", "delta"},
    deps=[FEATURES.split("/")],
    metadata={"dagster/column_schema": column_schema(GARCH.schema)},
    automation_condition=FOLLOW_UPSTREAM,
    pool="training",
)
def garch(lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Estimate what is new; a year whose returns have not changed keeps its parameters."""
    from ml import plots
    from ml.inputs import update_garch

    lake = lakehouse.lake
    years = update_garch(lake)
    rows = lake.read(GARCH.name).to_pandas()
    extra = {"years written": ", ".join(map(str, years)) or "none", "parameters by year": picture(plots.garch(rows))}
    return table_result(lake, GARCH.name, extra)


@dg.asset(
    key=SEGMENTS.name.split("/"),
    description=SEGMENTS.description,
    group_name="models",
    owners=_OWNERS,
    kinds={"sklearn", "delta"},
    deps=[FEATURES.split("/")],
    metadata={"dagster/column_schema": column_schema(SEGMENTS.schema)},
    automation_condition=FOLLOW_UPSTREAM,
)
def segments(lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Place every share in every year."""
    from ml import plots
    from ml.segments import segments as find

    lake = lakehouse.lake
    columns = ["symbol", "asset_class", "ts", "scaled_return_1"]
    found = find(lake.read(FEATURES, columns, filters=DAILY).to_pandas())
    rows = pa.Table.from_pandas(found, schema=SEGMENTS.schema, preserve_index=False)
    if not lake.exists(SEGMENTS.name) or not lake.read(SEGMENTS.name).equals(rows):
        lake.replace(SEGMENTS.name, rows)
    extra = {"segments": picture(plots.segments(found))} if len(found) else {}
    return table_result(lake, SEGMENTS.name, extra)


class TrainConfig(dg.Config):
    """What a person may change in one training, in the launchpad."""

    seed: int = 0
    lookback: int = 20
    epochs: int = 8


def trained(target: str, scaled_by: str | None = None) -> dg.AssetsDefinition:
    """The asset `models/<target>`: its candidates, their evaluation on held-out time, and two registered versions.

    `scaled_by` is the target whose champion scales the intervals.
    """
    table = evaluation_spec(target)

    @dg.asset(
        key=table.name.split("/"),
        description=table.description,
        group_name="models",
        owners=_OWNERS,
        kinds={"tensorflow", "sklearn", "mlflow", "onnx"},
        deps=[*_INPUTS, *([["models", f"{scaled_by}_champion"]] if scaled_by else [])],
        metadata={"dagster/column_schema": column_schema(table.schema)},
        automation_condition=RETRAIN,
        pool="training",
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: TrainConfig,
        lakehouse: LakehouseResource,
        mlflow: MlflowResource,
    ) -> dg.MaterializeResult[Any]:
        from ml import plots
        from ml.card import card, write_card
        from ml.datasets import TARGETS
        from ml.gate import decide
        from ml.inputs import read_inputs
        from ml.registry import Registry
        from ml.training import train

        lake, registry = lakehouse.lake, Registry(lakehouse.settings)
        features, lake_versions = read_inputs(lake)
        with mlflow.run(context, lake_versions) as run_id:
            scale = registry.champion(scaled_by) if scaled_by else None
            result = train(TARGETS[target], features, volatility_model=scale, **config.model_dump())
            decision = decide(result, features, registry.incumbent(target))
            registry.log(result, decision)
            versions = registry.register(result, decision, lake_versions=lake_versions, code_version=code_version())
        reports = Folder(lakehouse.settings.reports_uri, lakehouse.settings)
        for candidate in (result.challenger, result.baseline):
            version = versions[candidate.model].version
            write_card(reports, card(result, candidate, decision, registry.tags(target, version), version))
        rows = pa.Table.from_pandas(result.test, preserve_index=False).select(table.schema.names).cast(table.schema)
        if not lake.exists(table.name) or not lake.read(table.name).equals(rows):
            lake.replace(table.name, rows)
        scores = {
            f"{c.model} on held-out time": dg.MetadataValue.json(dict(c.metrics["test"]))
            for c in result.candidates.values()
        }
        extra = {
            "mlflow_run_id": run_id,
            "features_version": lake_versions[FEATURES],
            "training_rows": result.params["train_rows"],
            "challenger": f"{result.challenger.model}, version {versions[result.challenger.model].version}",
            "baseline": f"{result.baseline.model}, version {versions[result.baseline.model].version}",
            **scores,
            "learning curve": picture(plots.learning_curve(result)),
            "forecast against outcome": picture(plots.forecast_vs_outcome(result)),
            "coverage of the intervals": picture(plots.coverage(result)),
            "importance of the features": picture(plots.importance(result)),
        }
        return table_result(lake, table.name, extra)

    return asset


def champion(target: str) -> dg.AssetsDefinition:
    """The asset `models/<target>_champion`: the gate's decision, and the alias `champion` in the registry."""
    table = decision_spec(target)
    key = dg.AssetKey(table.name.split("/"))

    @dg.multi_asset(
        name=f"models__{target}_champion",
        specs=[
            dg.AssetSpec(
                key,
                description=table.description,
                group_name="models",
                owners=_OWNERS,
                kinds={"python", "mlflow", "delta"},
                deps=[["models", target]],
                metadata={"dagster/column_schema": column_schema(table.schema)},
                automation_condition=FOLLOW_UPSTREAM,
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                "gate",
                asset=key,
                blocking=True,
                description="The champion is sound on held-out time, and no check upstream has failed.",
            ),
            dg.AssetCheckSpec(
                "learned_model_wins",
                asset=key,
                description="The champion is a learned model with a credible edge over the naive forecast. Expected of "
                "volatility_5d; for return_5d the naive forecast is the honest answer.",
            ),
        ],
        pool="training",
    )
    def asset(context: dg.AssetExecutionContext, lakehouse: LakehouseResource) -> Iterator[dg.MaterializeResult[Any]]:
        from assets_pkg.definitions import build_definitions
        from ml.registry import Registry

        lake = lakehouse.lake
        failed = failed_checks_upstream(build_definitions(), context.instance, key)
        decision = Registry(lakehouse.settings).promote(target, f"gate (Dagster run {context.run_id})", failed)
        row = {
            "decided_at": datetime.now(UTC),
            "champion": decision.winner,
            "version": decision.version,
            "learned": decision.learned,
            "reason": decision.reason,
            "numbers": json.dumps(decision.numbers, sort_keys=True),
            "dagster_run_id": context.run_id,
        }
        lake.append(table.name, pa.Table.from_pylist([row], schema=table.schema))
        numbers = {name: dg.MetadataValue.float(value) for name, value in decision.numbers.items()}
        checks = [
            dg.AssetCheckResult(
                check_name="gate",
                asset_key=key,
                passed=decision.passed,
                metadata={"reason": decision.reason, **numbers},
            ),
            dg.AssetCheckResult(
                check_name="learned_model_wins",
                asset_key=key,
                passed=decision.learned or target == "return_5d",
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"champion": decision.winner, "reason": decision.reason},
            ),
        ]
        extra = {"champion": decision.winner, "version": decision.version, "reason": decision.reason}
        yield table_result(lake, table.name, extra, check_results=checks)

    return asset


@dg.asset(
    key=AUDIT.name.split("/"),
    description=AUDIT.description,
    group_name="models",
    owners=_OWNERS,
    kinds={"python", "mlflow", "delta"},
    deps=[["models", "volatility_5d_champion"], ["models", "return_5d_champion"]],
    metadata={"dagster/column_schema": column_schema(AUDIT.schema)},
    automation_condition=FOLLOW_UPSTREAM,
)
def audit(lakehouse: LakehouseResource) -> dg.MaterializeResult[Any]:
    """Append the moves of the champions that are not told yet."""
    from ml.audit import settle
    from ml.registry import Registry

    lake = lakehouse.lake
    settle(lake, Registry(lakehouse.settings), datetime.now(UTC))
    moves = lake.read(AUDIT.name).sort_by([("decided_at", "descending")]).to_pylist()
    return table_result(lake, AUDIT.name, {"newest": shown_table(moves)})


MODELS = [
    garch,
    segments,
    trained("volatility_5d"),
    champion("volatility_5d"),
    trained("return_5d", scaled_by="volatility_5d"),
    champion("return_5d"),
    audit,
]
