"""When assets materialise by themselves, in one place."""

from typing import Any

import dagster as dg

FOLLOW_UPSTREAM = dg.AutomationCondition.eager() & dg.AutomationCondition.all_deps_blocking_checks_passed()
"""As soon as an upstream asset has changed and its blocking checks have passed; `eager()` alone ignores checks."""

FOLLOW_IN_DBT = dg.AutomationCondition.eager() & (
    dg.AutomationCondition.all_deps_blocking_checks_passed().ignore(dg.AssetSelection.groups("market"))
)
"""The same for dbt models: among themselves dbt holds back what follows a failed test."""

CHECK_WITH_ASSET = dg.AutomationCondition.eager()
"""For a dbt test: in the same run as its model."""

_DRIFT = dg.AssetKey(["monitoring", "data_drift"])

_drift_alarm: dg.AutomationCondition[Any] = dg.AutomationCondition.asset_matches(
    _DRIFT, dg.AutomationCondition.any_checks_match(dg.AutomationCondition.check_failed())
)
_saturday: dg.AutomationCondition[Any] = dg.AutomationCondition.cron_tick_passed("0 6 * * 6")

RETRAIN = (
    (_saturday.since_last_handled() | _drift_alarm.newly_true().since_last_handled())
    & ~dg.AutomationCondition.in_progress()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
)
"""Every Saturday, and once each time that the drift check turns red: `newly_true` and `since_last_handled` latch it.

`on_cron` would wait for new features after the tick, that is for Monday.
"""
