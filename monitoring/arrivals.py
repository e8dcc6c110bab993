"""What has arrived, in words: the batches of a run as the text of a notification."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from lake.store import Lake
from monitoring.notifications import one_line

_COUNTS = ("received", "accepted", "unchanged", "rejected", "flagged")


@dataclass(frozen=True)
class Arrivals:
    """A notification: one line, and the lines below it."""

    title: str
    text: str


def arrivals(lake: Lake, batch_ids: Sequence[str]) -> Arrivals:
    """How much came from where, what was rejected or flagged by which rule, and the newest session among the new bars.

    Parameters
    ----------
    batch_ids : batches of `raw/batches`, at least one.
    """
    ours = pc.field("batch_id").isin(list(batch_ids))
    batches = lake.read("raw/batches", filters=ours).sort_by("ingested_at").to_pylist()
    by_origin: dict[str, Counter[str]] = {}  # a backfill makes many batches of one origin
    for batch in batches:
        counts = by_origin.setdefault(one_line(f"{batch['source']} {batch['origin']}"), Counter())
        counts.update({count: batch[count] for count in _COUNTS})
    lines = [
        f"{origin}: {counts['received']:,} received = {counts['accepted']:,} accepted + "
        f"{counts['unchanged']:,} unchanged + {counts['rejected']:,} rejected{_flagged(counts)}"
        for origin, counts in by_origin.items()
    ]
    lines += [f"rejected by rule {rule}: {rows:,}" for rule, rows in _by_rule(lake, "raw/rejects", ours)]
    lines += [f"flagged by rule {rule}: {rows:,}" for rule, rows in _by_rule(lake, "raw/flags", ours)]
    newest = pc.max(lake.read("raw/bars", ["ts"], ours)["ts"]).as_py()
    if newest is not None:
        lines.append(f"newest session: {newest:%Y-%m-%d}")
    total = sum(by_origin.values(), Counter())
    title = f"Arrived: {total['accepted']:,} rows, {total['rejected']:,} rejected" + _flagged(total)
    return Arrivals(title, "\n".join(lines))


def _flagged(counts: Counter[str]) -> str:
    return f", {counts['flagged']:,} flagged" if counts["flagged"] else ""


def _by_rule(lake: Lake, table: str, ours: pc.Expression) -> list[tuple[str, int]]:
    counts = lake.read(table, ["rule"], ours)["rule"].value_counts().to_pylist()
    return sorted((count["values"], count["counts"]) for count in counts)
