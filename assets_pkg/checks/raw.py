"""Checks of the raw tables, evaluated by the step that writes them: what they refuse never reaches dbt."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from assets_pkg.metadata import findings_warning, shown_table
from lake.calendars import STALE_SESSIONS, stale_series
from lake.store import Lake

if TYPE_CHECKING:
    from lake.ingest import BatchResult
    from lake.sources.failover import Report

_TOLD = 10  # symbols that an alert names
_BARS, _FLAGS, _BATCHES = (dg.AssetKey(["raw", table]) for table in ("bars", "flags", "batches"))

RAW_CHECKS = [
    dg.AssetCheckSpec(
        "keeps_schema",
        asset=_BARS,
        blocking=True,
        description="Every stored bar keeps the pandera schema that ingestion validates with.",
    ),
    dg.AssetCheckSpec(
        "live_sources_deliver",
        asset=_BARS,
        description="Every symbol and series that the run asked for came from one of its live sources.",
    ),
    dg.AssetCheckSpec(
        "series_are_fresh",
        asset=_BARS,
        description="No instrument is without bars, and no series lags more than "
        f"{STALE_SESSIONS} sessions behind its calendar or the end that its source declares.",
    ),
    dg.AssetCheckSpec(
        "ledger_balances",
        asset=_BATCHES,
        blocking=True,
        description="Accepted rows are in raw/bars, rejected ones in raw/rejects and flagged ones in raw/flags, "
        "batch by batch.",
    ),
    dg.AssetCheckSpec(
        "no_bar_was_flagged",
        asset=_FLAGS,
        description="No bar that came with this run looks wrong in its series; those that do are listed in raw/flags.",
    ),
]


def check_raw(lake: Lake) -> Iterator[dg.AssetCheckResult]:
    """Results of `RAW_CHECKS`."""
    from lake.ingest import broken_bars, unbalanced_batches

    broken = broken_bars(lake)
    yield dg.AssetCheckResult(
        check_name="keeps_schema",
        asset_key=_BARS,
        passed=not broken,
        metadata={"rows": lake.row_count("raw/bars"), "broken": len(broken), "first": shown_table(broken)},
    )
    yield findings_warning(stale_series(lake), "series", shown="stale", check_name="series_are_fresh", asset_key=_BARS)
    unbalanced = unbalanced_batches(lake)
    yield dg.AssetCheckResult(
        check_name="ledger_balances",
        asset_key=_BATCHES,
        passed=not unbalanced,
        metadata={"batches": lake.row_count("raw/batches"), "unbalanced": unbalanced},
    )


def check_flags(batches: "Sequence[BatchResult]") -> dg.AssetCheckResult:
    """Result of `no_bar_was_flagged`: about the batches of this run, since no later one can mend it."""
    flagged = sum(batch.flagged for batch in batches)
    return dg.AssetCheckResult(
        check_name="no_bar_was_flagged",
        asset_key=_FLAGS,
        passed=not flagged,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{flagged} bars look wrong in their series" if flagged else None,
        metadata={"flagged": flagged},
    )


def check_sources(reports: "Sequence[Report]") -> dg.AssetCheckResult:
    """Result of `live_sources_deliver`: what is missing fails it, what another source had to deliver is told."""
    missing = [f"{name} ({', '.join(report.failures[name])})" for report in reports for name in report.missing]
    others = [
        f"{name} came from {report.delivered[name].source}"
        for report in reports
        for name in report.failures
        if name in report.delivered
    ]
    told = f"nothing came for {_some(missing)}" if missing else _some(others)
    return dg.AssetCheckResult(
        check_name="live_sources_deliver",
        asset_key=_BARS,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=told or None,
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return "; ".join(names[:_TOLD]) + more
