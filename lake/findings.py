"""Tables of findings, market/calendar_violations and market/reconciliation: what of them a person should look at."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lake.duck import connect
from lake.store import Lake

RECENT = timedelta(days=30)
"""What is older stays in its table: history is not mended, and a check that is always red tells nothing."""


@dataclass(frozen=True)
class _Findings:
    """SQL about a table of findings: what is shown of it, and which of its rows call for someone to act."""

    shown: str
    actionable: str


FINDINGS = {
    "market/calendar_violations": _Findings(
        """
        select symbol, interval, finding, count(*) as days, min(ts) as first, max(ts) as last, calendar,
            sum(expected)::bigint as expected, sum(found)::bigint as found
        from market.calendar_violations group by all order by days desc, symbol, interval, finding
        """,
        actionable="finding <> 'missing_bars' or found < 0.9 * expected",  # some minutes see no trade
    ),
    "market/reconciliation": _Findings(
        """
        select symbol, interval, ts, finding, difference, source_a, source_b, value_a, value_b, bars, bars_compared
        from market.reconciliation order by abs(difference) desc nulls last, bars desc, symbol, ts
        """,
        actionable="finding <> 'open_repeats_close'",  # a habit of its source
    ),
}


def worst_findings(lake: Lake, table: str, most: int = 20) -> list[dict[str, Any]]:
    """The findings that weigh most: calendar violations by series, differences between sources by size."""
    with connect(lake) as connection:
        return connection.sql(f"{FINDINGS[table].shown} limit {most}").to_arrow_table().to_pylist()


def recent_findings(lake: Lake, table: str, now: datetime | None = None) -> list[dict[str, Any]]:
    """Findings of the last 30 days by symbol: symbol, interval, finding, count, first and last; most frequent first.

    Parameters
    ----------
    now : default: the clock.
    """
    with connect(lake) as connection:
        found = connection.execute(
            f"""
            select symbol, interval, finding, count(*) as count, min(ts) as first, max(ts) as last
            from {table.replace("/", ".")}
            where ts > $since and ({FINDINGS[table].actionable})
            group by all
            order by count desc, symbol, interval, finding
            """,
            {"since": (now or datetime.now(UTC)) - RECENT},
        )
        return found.to_arrow_table().to_pylist()
