"""Checks that compare what different tables say: a warning where they do not agree, with the list of it."""

import dagster as dg

from assets_pkg.conditions import CHECK_WITH_ASSET
from assets_pkg.metadata import findings_warning
from assets_pkg.resources.lakehouse import LakehouseResource
from lake.adjustments import unexplained_adjustments
from lake.findings import RECENT, recent_findings


@dg.asset_check(
    asset=["market", "calendar_violations"],
    automation_condition=CHECK_WITH_ASSET,
    description=f"Every series has the sessions and hours of its calendar in the last {RECENT.days} days.",
)
def sessions_are_complete(lakehouse: LakehouseResource) -> dg.AssetCheckResult:
    """A warning for sessions without bars, and bars without a session; minutes without a trade are let pass."""
    return findings_warning(recent_findings(lakehouse.lake, "market/calendar_violations"), "series")


@dg.asset_check(
    asset=["market", "reconciliation"],
    automation_condition=CHECK_WITH_ASSET,
    description=f"The sources of a symbol agree on its returns of the last {RECENT.days} days.",
)
def sources_agree(lakehouse: LakehouseResource) -> dg.AssetCheckResult:
    """A warning for returns that differ."""
    return findings_warning(recent_findings(lakehouse.lake, "market/reconciliation"), "series")


@dg.asset_check(
    asset=["market", "corporate_actions"],
    automation_condition=CHECK_WITH_ASSET,
    description="The adjusted closes of a source change by its splits and dividends, and by nothing else.",
)
def explain_adj_close(lakehouse: LakehouseResource) -> dg.AssetCheckResult:
    """A warning for sessions at which they do not agree."""
    return findings_warning(unexplained_adjustments(lakehouse.lake), "sessions")


MARKET_CHECKS = [sessions_are_complete, sources_agree, explain_adj_close]
