"""What has arrived, in words: the batches of a run as the text of a notification."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from lake.store import Lake
from monitoring.notifications import one_line


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
    totals = {count: sum(batch[count] for batch in batches) for count in ("accepted", "rejected", "flagged")}
    lines = [
        one_line(f"{b['source']} {b['origin']}")
        + f": {b['received']:,} received = {b['accepted']:,} accepted + {b['unchanged']:,} unchanged"
        + f" + {b['rejected']:,} rejected"
        + (f", {b['flagged']:,} flagged" if b["flagged"] else "")
        for b in batches
    ]
    lines += [f"rejected by rule {rule}: {rows:,}" for rule, rows in _by_rule(lake, "raw/rejects", ours)]
    lines += [f"flagged by rule {rule}: {rows:,}" for rule, rows in _by_rule(lake, "raw/flags", ours)]
    newest = pc.max(lake.read("raw/bars", ["ts"], ours)["ts"]).as_py()
    if newest is not None:
        lines.append(f"newest session: {newest:%Y-%m-%d}")
    title = f"Arrived: {totals['accepted']:,} rows, {totals['rejected']:,} rejected"
    if totals["flagged"]:
        title += f", {totals['flagged']:,} flagged"
    return Arrivals(title, "\n".join(lines))


def _by_rule(lake: Lake, table: str, ours: pc.Expression) -> list[tuple[str, int]]:
    counts = lake.read(table, ["rule"], ours)["rule"].value_counts().to_pylist()
    return sorted((count["values"], count["counts"]) for count in counts)
