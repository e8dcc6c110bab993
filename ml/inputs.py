"""Inputs: what models read of the lake, at versions that are named: daily features with the GARCH volatility beside."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.store import Lake
from lake.tables import GARCH
from ml.datasets import GARCH_VOLATILITY
from ml.garch import Gjr, garch

FEATURES = "market/features"
TABLES = (FEATURES, GARCH.name)
_DAILY = pc.field("interval") == "1d"
_KEY = ["symbol", "ts"]


def read_inputs(lake: Lake, versions: Mapping[str, int] | None = None) -> tuple[pd.DataFrame, dict[str, int]]:
    """Daily rows of `market/features` with `garch_vol`, and the version of each table that was read.

    Parameters
    ----------
    versions : of the two tables; None reads the newest.
    """
    read = {name: (versions or {}).get(name, lake.version(name) or 0) for name in TABLES}
    features = lake.read(FEATURES, filters=_DAILY, version=read[FEATURES]).to_pandas()
    volatility = lake.read(GARCH.name, [*_KEY, GARCH_VOLATILITY], version=read[GARCH.name]).to_pandas()
    return features.merge(volatility, on=_KEY, how="left"), read


def update_garch(lake: Lake) -> list[int]:
    """Bring `models/garch` up to `market/features`: years in which a row differs are written anew, and returned.

    Parameters that were estimated on the same returns before are not estimated again.
    """
    features = lake.read(FEATURES, [*_KEY, "close"], filters=_DAILY).to_pandas()
    if not lake.exists(GARCH.name):
        lake.create(GARCH.name)
    before = lake.read(GARCH.name)
    estimates = before.select(["estimated_on", *Gjr._fields]).to_pandas().drop_duplicates("estimated_on")
    known = {hashed: Gjr(*values) for hashed, *values in estimates.itertuples(index=False)}
    rows = garch(features, known)
    rows["year"] = rows["ts"].dt.year.astype("int32")
    now = pa.Table.from_pandas(rows, preserve_index=False).select(GARCH.schema.names).cast(GARCH.schema)
    years = sorted({*now["year"].to_pylist(), *before["year"].to_pylist()})
    changed = [year for year in years if not _of(now, year).equals(_of(before, year))]
    if changed:
        listed = ", ".join(map(str, changed))
        lake.replace(GARCH.name, now.filter(pc.field("year").isin(changed)), f"year in ({listed})")
    return changed


def _of(table: pa.Table, year: int) -> pa.Table:
    return table.filter(pc.field("year") == year).sort_by([(name, "ascending") for name in _KEY])
