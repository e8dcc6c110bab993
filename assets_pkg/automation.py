"""What runs by itself: a schedule after the close, the landing sensor, declarative automation, and the alerts."""

import dagster as dg

from assets_pkg.resources.lakehouse import LakehouseResource

ingest_job = dg.define_asset_job(
    "ingest", selection=dg.AssetSelection.groups("raw"), description="Bring in new bars; the rest of the graph follows."
)

after_the_close = dg.ScheduleDefinition(
    name="after_the_close",
    job=ingest_job,
    cron_schedule="30 17 * * 1-5",
    execution_timezone="America/New_York",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every weekday, 90 minutes after the New York close.",
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
    names = [file.path.rsplit("/", 1)[-1] for file in waiting]
    key = "|".join(f"{name}@{file.token}" for name, file in zip(names, waiting, strict=True))
    return dg.RunRequest(run_key=key, tags={"landing/files": ", ".join(names)[:200]})


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
    description="Follows the assets' automation conditions: downstream updates, weekly and drift-driven training.",
)


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING, description="Tells a person that a run has failed."
)
def run_failures(context: dg.RunFailureSensorContext, lakehouse: LakehouseResource) -> None:
    """Log the failure, and post it where a webhook is set."""
    from monitoring.alerts import notify

    run = context.dagster_run
    notify(lakehouse.settings, f"Run of {run.job_name} failed", f"{context.failure_event.message} (run {run.run_id})")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells a person that an asset check has failed, warnings included: those never fail a run.",
)
def check_failures(context: dg.SensorEvaluationContext, lakehouse: LakehouseResource) -> dg.SkipReason:
    """Read the check evaluations since the last tick; the cursor is the last event seen."""
    from monitoring.alerts import notify

    storage = context.instance.event_log_storage
    after = int(context.cursor) if context.cursor else None
    records = storage.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=after),
        limit=500,
        ascending=after is not None,
    )
    if after is None:  # first tick: what failed before we were watching is history
        context.update_cursor(str(max((record.storage_id for record in records), default=0)))
        return dg.SkipReason("watching from now on")
    failed = 0
    for record in records:
        context.update_cursor(str(record.storage_id))
        event = record.event_log_entry.dagster_event
        evaluation = event.asset_check_evaluation_data if event else None
        if evaluation and not evaluation.passed:
            failed += 1
            title = (
                f"{evaluation.severity.value}: check {evaluation.check_name} of {evaluation.asset_key.to_user_string()}"
            )
            notify(lakehouse.settings, f"{title} failed", evaluation.description or "")
    return dg.SkipReason(f"{len(records)} evaluations, {failed} failed")


SCHEDULES = [after_the_close]
SENSORS = [landing_files, automation, run_failures, check_failures]
