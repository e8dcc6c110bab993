"""From delivered rows to the raw tables: validate, compare with what is known, append, and balance the ledger."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandera.pandas import DataFrameSchema

from lake.quality import BARS, CORPORATE_ACTIONS, FUNDAMENTALS, MACRO, NEWS, broken_rules, join_failures
from lake.sources.base import BAR_COLUMNS, NUMBER_COLUMNS, Instrument, Source, actions_of
from lake.sources.instruments import INSTRUMENTS
from lake.splice import FILE_SOURCE, complete_adj_close, splice_failures
from lake.store import Lake
from lake.tables import (
    RAW_BARS,
    RAW_BATCHES,
    RAW_CORPORATE_ACTIONS,
    RAW_FUNDAMENTALS,
    RAW_INSTRUMENTS,
    RAW_MACRO,
    RAW_NEWS,
    RAW_READINGS,
    RAW_REJECTS,
    RAW_REQUESTS,
    RAW_RESOLUTIONS,
    TableSpec,
)

_KEPT_OF_UNREADABLE = 10_000  # bytes
_DTYPES = {"ts": "datetime64[ns, UTC]", **dict.fromkeys(NUMBER_COLUMNS, "float64")}
_STAMPS = ("source", "batch_id", "ingested_at", "year")  # what ingestion adds to a row


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


@dataclass(frozen=True)
class _Kind:
    """What ingestion must know of a raw table: the columns that sources deliver, and the rules of a row."""

    spec: TableSpec
    schema: DataFrameSchema

    @property
    def columns(self) -> list[str]:
        return [name for name in self.spec.schema.names if name not in _STAMPS]

    @property
    def key(self) -> list[str]:
        return [name for name in self.spec.key if name not in _STAMPS]

    @property
    def subject(self) -> str:
        return self.key[0]


_KINDS = {
    kind.spec.name: kind
    for kind in (
        _Kind(RAW_BARS, BARS),
        _Kind(RAW_CORPORATE_ACTIONS, CORPORATE_ACTIONS),
        _Kind(RAW_MACRO, MACRO),
        _Kind(RAW_FUNDAMENTALS, FUNDAMENTALS),
        _Kind(RAW_NEWS, NEWS),
    )
}


def ingest_source(
    lake: Lake, source: Source, symbols: Sequence[str] = (), *, start: date | None = None, end: date | None = None
) -> BatchResult:
    """Fetch the bars of a source and ingest them; the same bars again add nothing."""
    return ingest(lake, source.fetch(symbols, start, end), source.name, source.origin)


def ingest_delivery(lake: Lake, bars: pd.DataFrame, source: str, origin: str) -> list[BatchResult]:
    """Ingest daily bars, and the corporate actions that came with them in the columns `ACTION_COLUMNS`."""
    batches = [ingest(lake, bars[list(BAR_COLUMNS)], source, origin)]
    actions = actions_of(bars)
    if len(actions):
        batches.append(ingest(lake, actions, source, origin, table="raw/corporate_actions"))
    return batches


def ingest(
    lake: Lake,
    rows: pd.DataFrame,
    source: str,
    origin: str,
    *,
    table: str = "raw/bars",
    originals: Callable[[pd.Index], pd.Series] | None = None,
    unreadable: pd.Series | None = None,
    again: bool = False,
) -> BatchResult:
    """Append what is new of a batch to its raw table, what is wrong to `raw/rejects`, and its counts to `raw/batches`.

    A crash at any point is repaired by ingesting the batch again: its id follows from its content, the ledger is
    written last, and rows that an earlier attempt appended are recognised by that id.

    Parameters
    ----------
    rows : one row a bar, columns `lake.sources.base.BAR_COLUMNS`; for another table its columns up to `source`.
    source : name of the source; the rows of each source are compared with that source's own history.
    origin : what was read, for the ledger.
    table : `raw/bars`, `raw/corporate_actions`, `raw/macro`, `raw/fundamentals` or `raw/news`.
    originals : gives the original text of some rows, for the rejects; default: the row as JSON.
    unreadable : what could not be read in a row, in words; null where all was.
    again : judge the rows anew, even if the source's last batch held the same.
    """
    create_raw_tables(lake)
    kind = _KINDS[table]
    rows = rows.reset_index(drop=True)
    payload_hash = _payload_hash(kind, rows, unreadable, originals)
    ledger = lake.read("raw/batches", filters=pc.field("source") == source).to_pandas().sort_values("ingested_at")
    if len(ledger) and ledger["payload_hash"].iloc[-1] == payload_hash and not again:
        last = ledger.iloc[-1]
        return BatchResult(str(last["batch_id"]), source, origin, len(rows), 0, len(rows), 0)
    repeats = int((ledger["payload_hash"] == payload_hash).sum())
    batch_id = hashlib.sha256(f"{source}|{payload_hash}|{repeats}".encode()).hexdigest()[:16]
    batch = _Batch(batch_id, source, origin, datetime.now(UTC))

    rejected = _unreadable_rows(unreadable)
    if kind.spec is RAW_BARS:
        rows = complete_adj_close(lake, rows)
    readable = rows.drop(index=rejected.index)
    rejected = join_failures(rejected, broken_rules(readable, pd.Timestamp(batch.now), kind.schema, kind.key))
    valid = rows.drop(index=rejected.index)
    if kind.spec is RAW_BARS:
        rejected = join_failures(rejected, splice_failures(lake, valid, source))
        valid = rows.drop(index=rejected.index)
    known = _latest_versions(lake, kind, source, valid[kind.subject].unique())
    changed, appended_before = _compare(kind, valid, known, batch_id)

    if len(rejected):
        _write_rejects(lake, batch, rows.assign(subject=rows[kind.subject]), rejected, originals)
    if len(changed):
        lake.append(table, _stamped(kind, changed, batch))
    accepted = len(changed) + appended_before
    result = BatchResult(batch_id, source, origin, len(rows), accepted, len(valid) - accepted, len(rejected))
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
    others = (RAW_INSTRUMENTS, RAW_REJECTS, RAW_READINGS, RAW_RESOLUTIONS, RAW_BATCHES, RAW_REQUESTS)
    for spec in (*(kind.spec for kind in _KINDS.values()), *others):
        if not lake.exists(spec.name):
            lake.create(spec.name)


def write_instruments(lake: Lake, symbols: Sequence[str] = (), more: Mapping[str, Instrument] | None = None) -> int:
    """Write the known series (all, or `symbols`) to `raw/instruments` if they changed; return the table's version.

    Parameters
    ----------
    more : series by symbol that are not embedded, or not only: a known one keeps its name and kind.
    """
    create_raw_tables(lake)
    wanted = {instrument.symbol: instrument for instrument in INSTRUMENTS}
    wanted = {symbol: instrument for symbol, instrument in wanted.items() if not symbols or symbol in symbols}
    for symbol, instrument in (more or {}).items():
        known = wanted.get(symbol, instrument)
        wanted[symbol] = replace(
            known, source=instrument.source, fallbacks=instrument.fallbacks, ends_at=instrument.ends_at
        )
    table = pa.Table.from_pylist([vars(instrument) for instrument in wanted.values()], schema=RAW_INSTRUMENTS.schema)
    if not lake.read("raw/instruments").sort_by("symbol").equals(table.sort_by("symbol")):
        return lake.replace("raw/instruments", table)
    version = lake.version("raw/instruments")
    assert version is not None
    return version


def unbalanced_batches(lake: Lake) -> list[str]:
    """Batches whose counts do not add up, or are not those of the rows in the raw tables and rejects; sorted ids."""
    ledger = lake.read("raw/batches").to_pandas().set_index("batch_id")
    wrong = set(ledger.index[ledger["received"] != ledger["accepted"] + ledger["unchanged"] + ledger["rejected"]])
    for column, tables in (("accepted", tuple(_KINDS)), ("rejected", ("raw/rejects",))):
        found = pd.concat([lake.read(table, ["batch_id"]).to_pandas()["batch_id"] for table in tables])
        both = ledger[column].to_frame().join(found.value_counts().rename("rows"), how="outer").fillna(0)
        wrong |= set(both.index[both[column] != both["rows"]])
    return sorted(wrong)


def _payload_hash(
    kind: _Kind,
    rows: pd.DataFrame,
    unreadable: pd.Series | None,
    originals: Callable[[pd.Index], pd.Series] | None,
) -> str:
    frame = rows[kind.columns]
    if unreadable is not None:
        frame = frame.assign(unreadable=unreadable.fillna(""), original="")
        broken = unreadable.index[unreadable.notna()]
        if originals is not None and len(broken):  # what could not be read differs in its text alone
            frame.loc[broken, "original"] = originals(broken)
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes()).hexdigest()


def _unreadable_rows(unreadable: pd.Series | None) -> pd.DataFrame:
    if unreadable is None:
        return join_failures()
    return join_failures(unreadable.dropna().to_frame("reason").assign(rule="unreadable"))


def _latest_versions(lake: Lake, kind: _Kind, source: str, subjects: np.ndarray) -> pd.DataFrame:
    condition = (pc.field("source") == source) & pc.field(kind.subject).isin(pa.array(subjects, pa.string()))
    columns = [*kind.columns, "batch_id", "ingested_at"]
    history = lake.read(kind.spec.name, columns=columns, filters=condition).to_pandas()
    return history.sort_values("ingested_at", kind="stable").drop_duplicates(kind.key, keep="last")


def _compare(kind: _Kind, valid: pd.DataFrame, known: pd.DataFrame, batch_id: str) -> tuple[pd.DataFrame, int]:
    """Rows that differ from the latest version of their key, and how many rows an earlier attempt has appended."""
    both = valid.reset_index().merge(known, on=kind.key, how="left", suffixes=("", "_known")).set_index("index")
    same = both["batch_id"].notna()
    for column in kind.columns:
        if column not in kind.key:
            old, new = both[f"{column}_known"], both[column]
            same &= (old == new).fillna(False).astype(bool) | (old.isna() & new.isna())
    appended_before = int((same & (both["batch_id"] == batch_id)).sum())
    return valid.loc[both.index[~same]], appended_before


def _stamped(kind: _Kind, rows: pd.DataFrame, batch: _Batch) -> pa.Table:
    rows = rows.assign(
        source=batch.source,
        batch_id=batch.id,
        ingested_at=pd.Timestamp(batch.now),
        year=rows["ts"].dt.year,
    )
    schema = kind.spec.schema
    return pa.Table.from_pandas(rows[schema.names], preserve_index=False).cast(schema)


def _write_rejects(
    lake: Lake,
    batch: _Batch,
    rows: pd.DataFrame,
    rejected: pd.DataFrame,
    originals: Callable[[pd.Index], pd.Series] | None,
) -> None:
    rows = rows.loc[rejected.index]
    if originals is None:
        text = rows.drop(columns="subject").apply(lambda row: row.to_json(date_format="iso"), axis=1)
    else:
        text = originals(rejected.index)
    frame = pd.DataFrame(
        {
            "batch_id": batch.id,
            "source": batch.source,
            "origin": batch.origin,
            "row_number": rejected.index + 1,
            "symbol": rows["subject"],
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
