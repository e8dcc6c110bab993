"""MLflow as a resource: one MLflow run a Dagster run, a nested run an asset in it, closed on every path."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import dagster as dg

from lake.settings import get_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

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

        registry = Registry(get_settings())
        experiment = registry.ensure_experiment(EXPERIMENT)
        _close_abandoned(context.instance, registry.client, experiment)
        parent = MlFlow(
            SimpleNamespace(
                log=context.log,
                dagster_run=context.run,
                run_id=context.run_id,
                resource_config={
                    "experiment_name": EXPERIMENT,
                    "mlflow_tracking_uri": get_settings().mlflow_tracking_uri,
                    "mlflow_run_id": _run_of_the_graph(registry.client, experiment, context.run_id),
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


def _run_of_the_graph(client: "MlflowClient", experiment: str, dagster_run_id: str) -> str | None:
    """Id of the MLflow run that nests those of this Dagster run; None before the first.

    dagster-mlflow would search by the tag alone, and take the nested run of an earlier asset for it.
    """
    runs = client.search_runs([experiment], f"tags.dagster_run_id = '{dagster_run_id}'")
    return next((str(run.info.run_id) for run in runs if "mlflow.parentRunId" not in run.data.tags), None)


def _close_abandoned(instance: dg.DagsterInstance, client: "MlflowClient", experiment: str) -> None:
    """Close what a killed process has left open: MLflow itself would show it as running for ever."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        dagster_run = instance.get_run_by_id(run.data.tags.get("dagster_run_id", ""))
        if dagster_run is not None and dagster_run.is_finished:
            client.set_terminated(run.info.run_id, "FAILED")
