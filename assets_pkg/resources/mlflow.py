"""MLflow as a resource: one MLflow run a Dagster run, a nested run an asset in it, closed on every path."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace

import dagster as dg

from lake.settings import get_settings

EXPERIMENT = "lakehouse"


class MlflowResource(dg.ConfigurableResource[None]):
    """Tracking through dagster-mlflow, imported when it is first used: it costs seconds.

    dagster-mlflow shares one MLflow run among all steps of a Dagster run, in which two model assets would collide on
    their parameters; so every asset gets a nested run of its own.
    """

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, lake_versions: Mapping[str, int]) -> Iterator[str]:
        """A nested run for the asset of `context`, tagged with what it came from; yields its id."""
        from dagster_mlflow.resources import MlFlow

        from ml.registry import Registry

        Registry(get_settings()).ensure_experiment(EXPERIMENT)
        parent = MlFlow(
            SimpleNamespace(
                log=context.log,
                dagster_run=context.run,
                run_id=context.run_id,
                resource_config={
                    "experiment_name": EXPERIMENT,
                    "mlflow_tracking_uri": get_settings().mlflow_tracking_uri,
                },
            )
        )
        asset = context.asset_key.to_user_string()
        tags = {
            "dagster_run_id": context.run_id,
            "asset_key": asset,
            **{f"lake.{table}": str(version) for table, version in lake_versions.items()},
        }
        status = "FAILED"
        try:
            with parent.start_run(run_name=asset, nested=True, tags=tags) as run:
                yield run.info.run_id
            status = "FINISHED"
        finally:
            parent.end_run(status=status)
