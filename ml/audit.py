"""Audit: the table `models/audit`, brought up to date with what the registry knows of the moves of its champions."""

from dataclasses import asdict
from datetime import datetime

import pyarrow as pa

from lake.store import Lake
from lake.tables import AUDIT
from ml.registry import Move, Registry


def settle(lake: Lake, registry: Registry, now: datetime) -> int:
    """Append the moves of the alias `champion` that the table does not have yet; how many these were.

    A move is noted in the registry before it happens, so that one whose process was killed is told here later. A
    champion that is not the one that the table ends with was moved with other tools; this is told as well.
    """
    lake.create(AUDIT.name)
    told = lake.read(AUDIT.name).sort_by("decided_at").to_pylist()
    newest = {row["model"]: row["to_version"] for row in told}
    known = {(row["model"], row["decided_at"]) for row in told}
    moves = []
    for model, (version, move) in registry.champions().items():
        if move is not None and (model, move.decided_at) not in known:
            moves.append(move)
        elif newest.get(model) != version:
            why = "the alias was moved with other tools"
            moves.append(Move(now, model, "outside", newest.get(model), version, "unknown", why))
    if not moves:
        return 0
    return lake.append_new(AUDIT.name, pa.Table.from_pylist([asdict(m) for m in moves], schema=AUDIT.schema))
