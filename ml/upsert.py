"""Upsert: rows that have an id are added, take the place of the old one, or stay because nothing has changed."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lake.store import Lake

_MOST_IDS = 1000  # in one predicate; thousands change only where the past of many symbols is corrected


def upsert(
    lake: Lake, table: str, rows: pa.Table, compared: Sequence[str], final: NDArray[np.bool_] | None = None
) -> int:
    """Write what is new or changed of some rows of a declared table with the key `id`; the number of rows written.

    Parameters
    ----------
    compared : columns of numbers; a row has changed where one differs by more than rounding.
    final : of each row, whether it stays as it was first written.
    """
    lake.create(table)
    ids = rows["id"].to_pylist()
    while True:
        version = lake.version(table)
        assert version is not None
        stored = lake.read(table, ["id", *compared], pc.field("id").isin(ids), version).to_pandas().set_index("id")
        before, now = stored.reindex(ids).to_numpy(np.float64), rows.select(compared).to_pandas().to_numpy(np.float64)
        is_new = ~np.isin(ids, stored.index)
        is_changed = ~is_new & ~np.isclose(now, before, rtol=1e-6, atol=1e-12).all(axis=1)
        if final is not None:
            is_changed &= ~final
        if not is_new.any() or lake.append_at(table, rows.filter(pa.array(is_new)), version):
            break
    changed = rows.filter(pa.array(is_changed))
    for start in range(0, changed.num_rows, _MOST_IDS):
        part = changed.slice(start, _MOST_IDS)
        quoted = ", ".join(f"'{i}'" for i in part["id"].to_pylist())
        lake.replace(table, part, predicate=f"id IN ({quoted})")
    return int(is_new.sum() + is_changed.sum())
