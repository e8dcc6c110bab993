"""From delivered bars to the raw tables: validate, compare with what is known, append, and balance the ledger."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.quality import broken_rules, join_failures
from lake.sources.base import BAR_COLUMNS, NUMBER_COLUMNS, Source
from lake.sources.instruments import INSTRUMENTS
from lake.splice import FILE_SOURCE, complete_adj_close, splice_failures
from lake.store import Lake
from lake.tables import RAW_BARS, RAW_BATCHES, RAW_INSTRUMENTS, RAW_READINGS, RAW_REJECTS, RAW_RESOLUTIONS

_KEPT_OF_UNREADABLE = 10_000  # bytes
_DTYPES = {"ts": "datetime64[ns, UTC]", **dict.fromkeys(NUMBER_COLUMNS, "float64")}
_KEY = ["symbol", "interval", "ts"]
_VALUES = [*NUMBER_COLUMNS, "asset_class", "currency"]


@dataclass(frozen=True)
class BatchResult:
    """Counts of one batch; received = accepted + unchanged + rejected."""

    batch_id: str
    source: str
    origin: str
    received: int
    accepted: int
    unchanged: int
    rejected: int


@dataclass(frozen=True)
class _Batch:
    id: str
    source: str
    origin: str
    now: datetime


def ingest_source(
    lake: Lake, source: Source, symbols: Sequence[str] = (), *, start: date | None = None, end: date | None = None
) -> BatchResult:
    """Fetch the bars of a source and ingest them; the same bars again add nothing."""
    return ingest(lake, source.fetch(symbols, start, end), source.name, source.origin)


def ingest(
    lake: Lake,
    bars: pd.DataFrame,
    source: str,
    origin: str,
    *,
    originals: Callable[[pd.Index], pd.Series] | None = None,
    unreadable: pd.Series | None = None,
    again: bool = False,
) -> BatchResult:
    """Append what is new of a batch to `raw/bars`, what is wrong to `raw/rejects`, and its counts to `raw/batches`.

    A crash at any point is repaired by ingesting the batch again: its id follows from its content, the ledger is
    written last, and rows that an earlier attempt appended are recognised by that id.

    Parameters
    ----------
    bars : one row a bar, columns `lake.sources.base.BAR_COLUMNS`.
    source : name of the source; the rows of each source are compared with that source's own history.
    origin : what was read, for the ledger.
    originals : gives the original text of some rows, for the rejects; default: the row as JSON.
    unreadable : what could not be read in a row, in words; null where all was.
    again : judge the rows anew, even if the source's last batch held the same.
    """
    create_raw_tables(lake)
    bars = bars.reset_index(drop=True)
    payload_hash = _payload_hash(bars, unreadable, originals)
    ledger = lake.read("raw/batches", filters=pc.field("source") == source).to_pandas().sort_values("ingested_at")
    if len(ledger) and ledger["payload_hash"].iloc[-1] == payload_hash and not again:
        last = ledger.iloc[-1]
        return BatchResult(str(last["batch_id"]), source, origin, len(bars), 0, len(bars), 0)
    repeats = int((ledger["payload_hash"] == payload_hash).sum())
    batch_id = hashlib.sha256(f"{source}|{payload_hash}|{repeats}".encode()).hexdigest()[:16]
    batch = _Batch(batch_id, source, origin, datetime.now(UTC))

    rejected = _unreadable_rows(unreadable)
    if source == FILE_SOURCE:
        bars = complete_adj_close(lake, bars)
    readable = bars.drop(index=rejected.index)
    rejected = join_failures(rejected, broken_rules(readable, pd.Timestamp(batch.now)))
    valid = bars.drop(index=rejected.index)
    if source == FILE_SOURCE:
        rejected = join_failures(rejected, splice_failures(lake, valid))
        valid = bars.drop(index=rejected.index)
    known = _latest_versions(lake, source, valid["symbol"].unique())
    changed, appended_before = _compare(valid, known, batch_id)

    if len(rejected):
        _write_rejects(lake, batch, bars, rejected, originals)
    if len(changed):
        lake.append("raw/bars", _stamped(changed, batch))
    accepted = len(changed) + appended_before
    result = BatchResult(batch_id, source, origin, len(bars), accepted, len(valid) - accepted, len(rejected))
    _write_ledger(lake, result, payload_hash, batch.now)
    return result


def ingest_unreadable(lake: Lake, content: bytes, origin: str, reason: str) -> BatchResult:
    """Record a file that cannot be read as one rejected row with the beginning of its text."""
    text = content[:_KEPT_OF_UNREADABLE].decode("utf-8", errors="replace")
    row = pd.DataFrame({column: pd.Series([None], dtype=_DTYPES.get(column, "string")) for column in BAR_COLUMNS})
    return ingest(
        lake,
        row,
        FILE_SOURCE,
        origin,
        originals=lambda rows: pd.Series(text, index=rows),
        unreadable=pd.Series([reason], dtype="string"),
    )


def create_raw_tables(lake: Lake) -> None:
    """Create the raw tables that do not exist yet, so that their readers never meet a missing one."""
    for spec in (RAW_BARS, RAW_INSTRUMENTS, RAW_REJECTS, RAW_READINGS, RAW_RESOLUTIONS, RAW_BATCHES):
        if not lake.exists(spec.name):
            lake.create(spec.name)


def write_instruments(lake: Lake, symbols: Sequence[str] = ()) -> int:
    """Write the known series (all, or `symbols`) to `raw/instruments` if they changed; return the table's version."""
    create_raw_tables(lake)
    wanted = [instrument for instrument in INSTRUMENTS if not symbols or instrument.symbol in symbols]
    table = pa.Table.from_pylist([vars(instrument) for instrument in wanted], schema=RAW_INSTRUMENTS.schema)
    if not lake.read("raw/instruments").sort_by("symbol").equals(table.sort_by("symbol")):
        return lake.replace("raw/instruments", table)
    version = lake.version("raw/instruments")
    assert version is not None
    return version


def unbalanced_batches(lake: Lake) -> list[str]:
    """Batches whose counts do not add up, or are not those of the rows in `raw/bars` and `raw/rejects`; sorted ids."""
    ledger = lake.read("raw/batches").to_pandas().set_index("batch_id")
    wrong = set(ledger.index[ledger["received"] != ledger["accepted"] + ledger["unchanged"] + ledger["rejected"]])
    for column, table in (("accepted", "raw/bars"), ("rejected", "raw/rejects")):
        rows = lake.read(table, ["batch_id"]).to_pandas()["batch_id"].value_counts().rename("rows")
        both = ledger[column].to_frame().join(rows, how="outer").fillna(0)
        wrong |= set(both.index[both[column] != both["rows"]])
    return sorted(wrong)


def _payload_hash(
    bars: pd.DataFrame, unreadable: pd.Series | None, originals: Callable[[pd.Index], pd.Series] | None
) -> str:
    frame = bars[list(BAR_COLUMNS)]
    if unreadable is not None:
        frame = frame.assign(unreadable=unreadable.fillna(""), original="")
        broken = unreadable.index[unreadable.notna()]
        if originals is not None and len(broken):  # what could not be read differs in its text alone
            frame.loc[broken, "original"] = originals(broken)
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()


def _unreadable_rows(unreadable: pd.Series | None) -> pd.DataFrame:
    if unreadable is None:
        return join_failures()
    return join_failures(unreadable.dropna().to_frame("reason").assign(rule="unreadable"))


def _latest_versions(lake: Lake, source: str, symbols: np.ndarray) -> pd.DataFrame:
    condition = (pc.field("source") == source) & pc.field("symbol").isin(pa.array(symbols, pa.string()))
    columns = [*_KEY, *_VALUES, "batch_id", "ingested_at"]
    history = lake.read("raw/bars", columns=columns, filters=condition).to_pandas()
    return history.sort_values("ingested_at", kind="stable").drop_duplicates(_KEY, keep="last")


def _compare(valid: pd.DataFrame, known: pd.DataFrame, batch_id: str) -> tuple[pd.DataFrame, int]:
    """Rows that differ from the latest version of their key, and how many rows an earlier attempt has appended."""
    both = valid.reset_index().merge(known, on=_KEY, how="left", suffixes=("", "_known")).set_index("index")
    same = both["batch_id"].notna()
    for column in _VALUES:
        old, new = both[f"{column}_known"], both[column]
        same &= (old == new).fillna(False).astype(bool) | (old.isna() & new.isna())
    appended_before = int((same & (both["batch_id"] == batch_id)).sum())
    return valid.loc[both.index[~same]], appended_before


def _stamped(bars: pd.DataFrame, batch: _Batch) -> pa.Table:
    rows = bars.assign(
        source=batch.source,
        batch_id=batch.id,
        ingested_at=pd.Timestamp(batch.now),
        year=bars["ts"].dt.year,
    )
    return pa.Table.from_pandas(rows[RAW_BARS.schema.names], preserve_index=False).cast(RAW_BARS.schema)


def _write_rejects(
    lake: Lake,
    batch: _Batch,
    bars: pd.DataFrame,
    rejected: pd.DataFrame,
    originals: Callable[[pd.Index], pd.Series] | None,
) -> None:
    rows = bars.loc[rejected.index]
    if originals is None:
        text = rows.apply(lambda row: row.to_json(date_format="iso"), axis=1)
    else:
        text = originals(rejected.index)
    frame = pd.DataFrame(
        {
            "batch_id": batch.id,
            "source": batch.source,
            "origin": batch.origin,
            "row_number": rejected.index + 1,
            "symbol": rows["symbol"],
            "ts": rows["ts"],
            "rule": rejected["rule"],
            "reason": rejected["reason"],
            "original": text,
            "rejected_at": pd.Timestamp(batch.now),
        }
    )
    table = pa.Table.from_pandas(frame, preserve_index=False).cast(RAW_REJECTS.schema)
    lake.replace("raw/rejects", table, predicate=f"batch_id = '{batch.id}'")


def _write_ledger(lake: Lake, result: BatchResult, payload_hash: str, now: datetime) -> None:
    row = {**vars(result), "payload_hash": payload_hash, "ingested_at": now}
    lake.append("raw/batches", pa.Table.from_pylist([row], schema=RAW_BATCHES.schema))
