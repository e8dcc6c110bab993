"""The gate asks what the checks upstream said last, whichever run that was."""

from collections.abc import Iterator

import dagster as dg

from assets_pkg.checks.upstream import failed_checks_upstream


class Config(dg.Config):
    sound: bool


@dg.multi_asset(
    specs=[dg.AssetSpec("bars")],
    check_specs=[dg.AssetCheckSpec("in_range", asset="bars"), dg.AssetCheckSpec("fresh", asset="bars")],
)
def bars(config: Config) -> Iterator[dg.MaterializeResult]:
    warning = dg.AssetCheckResult(check_name="fresh", passed=False, severity=dg.AssetCheckSeverity.WARN)
    yield dg.MaterializeResult(
        "bars", check_results=[dg.AssetCheckResult(check_name="in_range", passed=config.sound), warning]
    )


@dg.asset(deps=["bars"])
def features() -> None:
    """Between them."""


@dg.asset(deps=["features"])
def champion() -> None:
    """The one that asks."""


def test_failed_checks_of_severity_error_are_found_in_whatever_run_they_ran() -> None:
    definitions = dg.Definitions([bars, features, champion], jobs=[dg.define_asset_job("everything", "*")])
    job = definitions.resolve_job_def("everything")
    with dg.DagsterInstance.ephemeral() as instance:
        for sound, failed in ((False, ["bars in_range"]), (True, [])):
            config = {"ops": {"bars": {"config": {"sound": sound}}}}
            assert job.execute_in_process(config, instance, asset_selection=[dg.AssetKey("bars")]).success
            assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("champion")]).success
            assert failed_checks_upstream(definitions, instance, dg.AssetKey("champion")) == failed
            assert failed_checks_upstream(definitions, instance, dg.AssetKey("bars")) == []
