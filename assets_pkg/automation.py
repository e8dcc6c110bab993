"""What runs by itself: a schedule after the close, the landing sensor, declarative automation, and the alerts."""

import dagster as dg

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
    default_status=dg.DefaultSensorStatus.RUNNING, description="Tells a person that a run has failed, and which checks."
)
def run_failures(context: dg.RunFailureSensorContext, lakehouse: LakehouseResource) -> None:
    """Log the failure, and post it where a webhook is set."""
    from monitoring.alerts import notify

    run = context.dagster_run
    text = "\n".join([f"{context.failure_event.message} (run {run.run_id})", *_failed_checks(context)])
    notify(lakehouse.settings, f"Run of {run.job_name} failed", text)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells a person which checks have failed in a run that succeeded: a warning never fails a run.",
)
def check_failures(context: dg.RunStatusSensorContext, lakehouse: LakehouseResource) -> None:
    """Log the failed checks, and post them where a webhook is set."""
    from monitoring.alerts import notify

    failed = _failed_checks(context)
    if failed:
        text = "\n".join([*failed, f"(run {context.dagster_run.run_id})"])
        notify(lakehouse.settings, f"{len(failed)} asset checks failed", text)


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


SCHEDULES = [after_the_close]
SENSORS = [landing_files, automation, run_failures, check_failures]
