"""What runs by itself: two schedules, the landing sensor, declarative automation, and notifications."""

import logging

import dagster as dg

from assets_pkg.metadata import NEW_BATCHES
from assets_pkg.resources.lakehouse import LakehouseResource

ingest_job = dg.define_asset_job(
    "ingest", selection=dg.AssetSelection.groups("raw"), description="Bring in new bars; the rest of the graph follows."
)

backfill_job = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.groups("raw"),
    config={"ops": {"raw": {"config": {"backfill": {"start": "2020-01-01", "end": "2024-12-31", "interval": "1d"}}}}},
    description="Ask the live sources for a past range; launched again, it goes on where it stopped.",
)

after_the_close = dg.ScheduleDefinition(
    name="after_the_close",
    job=ingest_job,
    cron_schedule="30 17 * * 1-5",
    execution_timezone="America/New_York",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every weekday, 90 minutes after the New York close.",
)

upkeep_job = dg.define_asset_job(
    "upkeep", selection=dg.AssetSelection.groups("upkeep"), description="Compact small files, delete useless ones."
)

sunday_morning = dg.ScheduleDefinition(
    name="sunday_morning",
    job=upkeep_job,
    cron_schedule="0 6 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday at 06:00 UTC, when markets are closed.",
)


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ingests files as they arrive in the landing folder.",
)
def landing_files(lakehouse: LakehouseResource) -> dg.RunRequest | dg.SkipReason:
    """One run for all files that wait; the same files, unchanged, are not tried twice."""
    from lake.landing import Landing

    waiting = Landing(lakehouse.settings).waiting()
    if not waiting:
        return dg.SkipReason("no file waits")
    key = "|".join(f"{file.name}@{file.token}" for file in waiting)
    return dg.RunRequest(run_key=key, tags={"landing/files": ", ".join(file.name for file in waiting)[:200]})


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
    description="Follows the assets' automation conditions: downstream updates, weekly and drift-driven training.",
)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING, description="Tells a person that a run has failed, and which checks."
)
def run_failures(context: dg.RunFailureSensorContext, lakehouse: LakehouseResource) -> None:
    """Notify of the failure by every channel that is set."""
    from monitoring.notifications import notify

    run = context.dagster_run
    text = "\n".join([f"{context.failure_event.message} (run {run.run_id})", *_failed_checks(context)])
    notify(lakehouse.settings, f"Run of {run.job_name} failed", text)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells a person what a run has brought in, and which checks have failed in a run that succeeded: "
    "a warning never fails a run.",
)
def run_successes(context: dg.RunStatusSensorContext, lakehouse: LakehouseResource) -> None:
    """Notify of new batches and of failed checks; a run with neither is silent."""
    from monitoring.arrivals import arrivals
    from monitoring.notifications import notify

    run = f"(run {context.dagster_run.run_id})"
    if batches := _new_batches(context):
        found = arrivals(lakehouse.lake, batches)
        notify(lakehouse.settings, found.title, f"{found.text}\n{run}", logging.INFO)
    if failed := _failed_checks(context):
        notify(lakehouse.settings, f"{len(failed)} asset checks failed", "\n".join([*failed, run]))


def _new_batches(context: dg.RunStatusSensorContext) -> list[str]:
    """Ids of the batches that the run has brought in."""
    made = context.instance.get_records_for_run(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    for record in made.records:
        materialization = record.event_log_entry.asset_materialization
        found = materialization.metadata.get(NEW_BATCHES) if materialization else None
        if isinstance(found, dg.JsonMetadataValue):
            return [str(batch_id) for batch_id in found.value or ()]
    return []


def _failed_checks(context: dg.RunStatusSensorContext) -> list[str]:
    evaluations = context.instance.get_records_for_run(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    found = []
    for record in evaluations.records:
        event = record.event_log_entry.dagster_event
        check = event.asset_check_evaluation_data if event else None
        if check is not None and not check.passed:
            said = f": {check.description}" if check.description else ""
            found.append(f"{check.severity.value} {check.asset_key.to_user_string()} {check.check_name}{said}")
    return found


SCHEDULES = [after_the_close, sunday_morning]
SENSORS = [landing_files, automation, run_failures, run_successes]
