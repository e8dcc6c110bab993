"""From delivered rows to the raw tables: validate, compare with what is known, append, and balance the ledger."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandera.pandas import DataFrameSchema

from lake import ids
from lake.duck import select
from lake.quality import (
    BARS,
    CORPORATE_ACTIONS,
    FUNDAMENTALS,
    MACRO,
    NEWS,
    broken_rules,
    join_failures,
    schema_failures,
)
from lake.series_rules import series_failures
from lake.severities import Severities
from lake.sources.base import BAR_COLUMNS, NUMBER_COLUMNS, Instrument, Source, actions_of
from lake.sources.instruments import INSTRUMENTS
from lake.splice import FILE_SOURCE, complete_adj_close, known_bars, splice_failures
from lake.store import Lake, among
from lake.tables import (
    RAW_BARS,
    RAW_BATCHES,
    RAW_CORPORATE_ACTIONS,
    RAW_FLAGS,
    RAW_FUNDAMENTALS,
    RAW_INSTRUMENTS,
    RAW_MACRO,
    RAW_NEWS,
    RAW_READINGS,
    RAW_REJECTS,
    RAW_REQUESTS,
    RAW_RESOLUTIONS,
    TABLES,
    TableSpec,
)

_FLAGGED = ["batch_id", "symbol", "interval", "ts"]  # the bar that a flag is about
_KEPT_OF_UNREADABLE = 10_000  # bytes
_DTYPES = {"ts": "datetime64[ns, UTC]", **dict.fromkeys(NUMBER_COLUMNS, "float64")}
_STAMPS = ("source", "batch_id", "ingested_at", "year")  # what ingestion adds to a row


@dataclass(frozen=True)
class BatchResult:
    """Counts of one batch; received = accepted + unchanged + rejected, and flagged are some of the accepted."""

    batch_id: str
    source: str
    origin: str
    raw_table: str
    received: int
    accepted: int
    unchanged: int
    rejected: int
    flagged: int = 0


@dataclass(frozen=True)
class _Batch:
    id: str
    source: str
    origin: str
    now: datetime
    severities: Severities


@dataclass(frozen=True)
class _Kind:
    """What ingestion must know of a raw table: the columns that sources deliver, and the rules of a row.

    `past` is the column of the time that cannot lie ahead: a value is of the past when it is released, whatever its
    period, and corporate actions are announced.
    """

    spec: TableSpec
    schema: DataFrameSchema
    past: str | None

    @property
    def columns(self) -> list[str]:
        return [name for name in self.spec.schema.names if name not in _STAMPS]

    @property
    def key(self) -> list[str]:
        return [name for name in self.spec.key if name not in _STAMPS]

    @property
    def subject(self) -> str:
        return self.key[0]

    @property
    def text(self) -> list[str]:
        return [name for name in self.columns if pa.types.is_string(self.spec.schema.field(name).type)]


_KINDS = {
    kind.spec.name: kind
    for kind in (
        _Kind(RAW_BARS, BARS, past="ts"),
        _Kind(RAW_CORPORATE_ACTIONS, CORPORATE_ACTIONS, past=None),
        _Kind(RAW_MACRO, MACRO, past="released_at"),
        _Kind(RAW_FUNDAMENTALS, FUNDAMENTALS, past="released_at"),
        _Kind(RAW_NEWS, NEWS, past="ts"),
    )
}


def ingest_source(
    lake: Lake, source: Source, symbols: Sequence[str] = (), *, start: date | None = None, end: date | None = None
) -> BatchResult:
    """Fetch the bars of a source and ingest them; the same bars again add nothing."""
    return ingest(lake, source.fetch(symbols, start, end), source.name, source.origin)


def ingest_delivery(lake: Lake, bars: pd.DataFrame, source: str, origin: str) -> list[BatchResult]:
    """Ingest bars, and the corporate actions that came beside them in the columns `ACTION_COLUMNS`."""
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
    written last, and rows that an earlier attempt appended are recognised by that id; what never comes again is left to
    `close_interrupted_batches`. Any number of ingestions may run at once: rows are appended to the very version that
    they were compared with, else they are compared again.

    Parameters
    ----------
    rows : one row a bar, columns `lake.sources.base.BAR_COLUMNS`; for another table its columns up to `source`.
    source : name of the source; the rows of each source are compared with that source's own history.
    origin : what was read, for the ledger.
    table : `raw/bars`, `raw/corporate_actions`, `raw/macro`, `raw/fundamentals` or `raw/news`.
    originals : gives the original text of some rows, for the rejects; default: the row as JSON.
    unreadable : what could not be read in a row, in words; null where all was.
    again : a person brings these rows again: they are judged anew and recorded, even if the source delivered the same
        before, and a rule of the series only flags them.
    """
    create_raw_tables(lake)
    kind = _KINDS[table]
    rows = rows.reset_index(drop=True).astype(dict.fromkeys(kind.text, "category"))
    payload_hash = _payload_hash(kind, rows, unreadable, originals)
    ours = (pc.field("source") == source) & (pc.field("raw_table") == table)
    ledger = lake.read("raw/batches", ["batch_id", "payload_hash", "accepted", "ingested_at"], ours)
    earlier = ledger.sort_by("ingested_at").to_pylist()
    same = [number for number, entry in enumerate(earlier) if entry["payload_hash"] == payload_hash]
    nothing_new = None
    if same and not again:
        nothing_new = BatchResult(earlier[same[-1]]["batch_id"], source, origin, table, len(rows), 0, len(rows), 0)
        if not any(entry["accepted"] for entry in earlier[same[-1] + 1 :]):
            return nothing_new
    batch_id = ids.batch_id(source, table, payload_hash, len(same))
    severities = lake.severities.overruled() if again else lake.severities
    batch = _Batch(batch_id, source, origin, datetime.now(UTC), severities)

    failures = _unreadable_rows(unreadable)
    if kind.spec is RAW_BARS:
        rows = complete_adj_close(lake, rows)
    readable = _without(rows, failures)
    broken = broken_rules(readable, pd.Timestamp(batch.now), kind.schema, kind.key, kind.past)
    failures = join_failures(failures, broken)
    valid = _without(rows, failures)

    stored = _stored(kind, valid, batch)
    landed = False
    while not landed:
        version = lake.version(table)
        assert version is not None
        mine, known = _compare(kind, stored, _history(lake, kind, stored, source, version), batch_id)
        misfits, flags = join_failures(), join_failures()
        if kind.spec is RAW_BARS:
            misfits, flags = _judge_as_series(lake, valid, mine, known, batch)
        rejected = join_failures(failures, misfits)
        new = ~mine & ~known & ~valid.index.isin(rejected.index)
        rows_to_add = stored if new.all() else stored.filter(new)
        landed = not new.any() or lake.append_at(table, rows_to_add, version, metadata={"batch_id": batch_id})

    accepted = int(mine.sum() + new.sum())
    if nothing_new and not accepted:
        return nothing_new
    _write_findings(lake, "raw/rejects", batch, _rejects(kind, batch, rows.loc[rejected.index], rejected, originals))
    if kind.spec is RAW_BARS:
        _write_findings(lake, "raw/flags", batch, _flags(batch, valid.loc[flags.index], flags))
    unchanged = len(rows) - accepted - len(rejected)
    flagged = flags.index.nunique()
    result = BatchResult(batch_id, source, origin, table, len(rows), accepted, unchanged, len(rejected), flagged)
    if not _write_ledger(lake, result, payload_hash, batch.now):  # the same rows were ingested at once
        return replace(result, accepted=0, unchanged=len(rows), rejected=0, flagged=0)
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
    others = (RAW_INSTRUMENTS, RAW_REJECTS, RAW_FLAGS, RAW_READINGS, RAW_RESOLUTIONS, RAW_BATCHES, RAW_REQUESTS)
    for spec in (*(kind.spec for kind in _KINDS.values()), *others):
        lake.create(spec.name)


def write_instruments(
    lake: Lake, symbols: Sequence[str] = (), more: Mapping[str, Instrument] | None = None, *, keep: bool = False
) -> int:
    """Write the known series (all, or `symbols`) to `raw/instruments` if they changed; return the table's version.

    Parameters
    ----------
    more : series by symbol that are not embedded, or not only: a known one keeps its name and kind.
    keep : leave what is there, but for `more`.
    """
    create_raw_tables(lake)
    wanted = {instrument.symbol: instrument for instrument in INSTRUMENTS}
    wanted = {symbol: instrument for symbol, instrument in wanted.items() if not symbols or symbol in symbols}
    if keep:
        wanted |= {row["symbol"]: Instrument(**row) for row in lake.read("raw/instruments").to_pylist()}
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


def delivered_columns(table: str) -> list[str]:
    """The columns of a raw table that sources deliver; ingestion adds the others."""
    return _KINDS[table].columns


def close_interrupted_batches(lake: Lake) -> list[BatchResult]:
    """Enter batches that ended before their ledger entry into the ledger, with what the tables hold of them.

    Such an entry has no payload hash, and that of the batch itself takes its place: when its payload is ingested again,
    or when it was not interrupted at all but is still being ingested by another process.
    """
    ledger = {entry["batch_id"]: entry for entry in lake.read("raw/batches").to_pylist()}
    found = _found_by_batch(lake)
    results = []
    for batch_id in sorted(set().union(*found.values())):
        counts = {column: found[column][batch_id] for column in found}
        entry = ledger.get(batch_id)
        if entry and (entry["payload_hash"] or entry.items() >= counts.items()):
            continue
        source, origin, table, time = _trace(lake, batch_id)
        received = counts["accepted"] + counts["rejected"]
        result = BatchResult(batch_id, source, origin, table, received, unchanged=0, **counts)
        if _write_ledger(lake, result, None, time):
            results.append(result)
    return results


def _trace(lake: Lake, batch_id: str) -> tuple[str, str, str, datetime]:
    """Source, origin, raw table and time of a batch by the rows that it has left."""
    trace: dict[str, Any] = {"origin": "interrupted"}
    for table in ("raw/flags", *_KINDS, "raw/rejects"):
        spec = TABLES[table]
        columns = [name for name in ("source", "origin", "raw_table", spec.known_since) if name in spec.schema.names]
        for row in lake.read(table, columns, pc.field("batch_id") == batch_id).slice(0, 1).to_pylist():
            trace |= {"raw_table": table, "time": row[spec.known_since], **row}
    return trace["source"], trace["origin"], trace["raw_table"], trace["time"]


def unbalanced_batches(lake: Lake) -> list[str]:
    """Batches whose counts do not add up, or are not those of the raw tables, rejects and flags; sorted ids."""
    ledger = lake.read("raw/batches").to_pandas().set_index("batch_id")
    wrong = set(ledger.index[ledger["received"] != ledger["accepted"] + ledger["unchanged"] + ledger["rejected"]])
    wrong |= set(ledger.index[ledger.index.duplicated()])
    for column, found in _found_by_batch(lake).items():
        both = ledger[column].to_frame().join(pd.Series(found, name="rows", dtype="int64"), how="outer").fillna(0)
        wrong |= set(both.index[both[column] != both["rows"]])
    return sorted(wrong)


def _found_by_batch(lake: Lake) -> "dict[str, Counter[str]]":
    """What the ledger counts, as the tables hold it, by batch."""
    flagged = lake.read("raw/flags", _FLAGGED).group_by(_FLAGGED).aggregate([])["batch_id"]
    return {
        "accepted": _rows_by_batch(lake, *_KINDS),
        "rejected": _rows_by_batch(lake, "raw/rejects"),
        "flagged": Counter(flagged.to_pylist()),
    }


def _rows_by_batch(lake: Lake, *tables: str) -> "Counter[str]":
    found: Counter[str] = Counter()
    for part in chain.from_iterable(lake.parts(table, ["batch_id"]) for table in tables):
        ids, rows = part["batch_id"].value_counts().flatten()
        found.update(dict(zip(ids.to_pylist(), rows.to_pylist(), strict=True)))
    return found


def broken_bars(lake: Lake) -> list[dict[str, Any]]:
    """Stored bars that break a rule of single rows: symbol, interval, ts, rule and reason of each."""
    kind, broken = _KINDS["raw/bars"], []
    for part in lake.parts("raw/bars", kind.columns):
        bars = part.to_pandas(categories=kind.text).astype({"ts": _DTYPES["ts"]})
        broken += bars[["symbol", "interval", "ts"]].join(schema_failures(bars), how="inner").to_dict("records")
    return broken


def _payload_hash(
    kind: _Kind,
    rows: pd.DataFrame,
    unreadable: pd.Series | None,
    originals: Callable[[pd.Index], pd.Series] | None,
) -> str:
    digest = hashlib.sha256(pd.util.hash_pandas_object(rows[kind.columns], index=False).to_numpy().tobytes())
    broken = _unreadable_rows(unreadable)
    if len(broken):
        texts = broken["reason"] if originals is None else originals(broken.index)  # may differ in its text alone
        digest.update(pd.util.hash_pandas_object(texts).to_numpy().tobytes())
    return digest.hexdigest()


def _unreadable_rows(unreadable: pd.Series | None) -> pd.DataFrame:
    if unreadable is None:
        return join_failures()
    return join_failures(unreadable.dropna().to_frame("reason").assign(rule="unreadable"))


def _without(rows: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(index=failures.index) if len(failures) else rows


def _where(rows: pd.DataFrame, wanted: np.ndarray) -> pd.DataFrame:
    return rows if wanted.all() else rows[wanted]


def _stored(kind: _Kind, rows: pd.DataFrame, batch: _Batch) -> pa.Table:
    """Rows as their raw table keeps them."""
    delivered = pa.Table.from_pandas(rows[kind.columns], preserve_index=False)
    columns = dict(zip(delivered.column_names, delivered.columns, strict=True))
    columns["year"] = pc.year(columns["ts"])
    for name, value in (("source", batch.source), ("batch_id", batch.id), ("ingested_at", batch.now)):
        columns[name] = pa.repeat(pa.scalar(value), len(rows))
    return pa.table({name: columns[name] for name in kind.spec.schema.names}).cast(kind.spec.schema)


def _history(lake: Lake, kind: _Kind, rows: pa.Table, source: str, version: int) -> pa.Table:
    """Every version that the source has delivered of these rows, and more: what costs little to read."""
    condition = (pc.field("source") == source) & among(kind.subject, rows[kind.subject])
    if "ts" in kind.key:
        ends = pc.min_max(rows["ts"])
        condition &= (pc.field("ts") >= ends["min"]) & (pc.field("ts") <= ends["max"])
    return lake.read(kind.spec.name, [*kind.columns, "batch_id", "ingested_at"], condition, version)


def _compare(kind: _Kind, rows: pa.Table, history: pa.Table, batch_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Which rows an earlier attempt at the batch has appended, and which are as the latest version of their key."""
    mine, known = np.zeros((2, rows.num_rows), dtype=bool)
    if history.num_rows:
        values = [name for name in kind.columns if name not in kind.key]
        found = select(
            f"""
            select
                row_number,
                bool_or(history.batch_id = '{batch_id}') as mine,
                arg_max({_equal(values)}, (history.ingested_at, history.batch_id)) as known
            from rows
            join history on {_equal(kind.key)}
            group by row_number
            """,
            rows=rows.append_column("row_number", pa.array(np.arange(rows.num_rows))),
            history=history,
        )
        number = found["row_number"].to_numpy()
        mine[number], known[number] = found["mine"].to_numpy(), found["known"].to_numpy()
    return mine, known


def _equal(columns: Sequence[str]) -> str:
    return " and ".join(f"rows.{name} is not distinct from history.{name}" for name in columns)


def _judge_as_series(
    lake: Lake, bars: pd.DataFrame, mine: np.ndarray, known: np.ndarray, batch: _Batch
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What new bars break as part of their series: failures that refuse a bar, and flags on the others.

    What the batch has appended already, `mine`, stays whatever is found now.
    """
    misfits = splice_failures(lake, _where(bars, ~mine), batch.source)
    judged = _where(bars, (mine | ~known) & ~bars.index.isin(misfits.index))
    found = series_failures(judged, partial(known_bars, lake, batch.source), batch.severities)
    refused = found[(found["severity"] == "reject") & ~found.index.isin(bars.index[mine])]
    return join_failures(misfits, refused), found.drop(index=refused.index)


def _write_findings(lake: Lake, table: str, batch: _Batch, rows: pa.Table) -> None:
    """Write the rows of a batch in the place of those that an earlier attempt at it has left."""
    if rows.num_rows or lake.read(table, ["batch_id"], pc.field("batch_id") == batch.id).num_rows:
        lake.replace(table, rows, f"batch_id = '{batch.id}'")


def _rejects(
    kind: _Kind,
    batch: _Batch,
    rows: pd.DataFrame,
    failures: pd.DataFrame,
    originals: Callable[[pd.Index], pd.Series] | None,
) -> pa.Table:
    frame = pd.DataFrame(
        {
            "batch_id": batch.id,
            "source": batch.source,
            "origin": batch.origin,
            "raw_table": kind.spec.name,
            "row_number": failures.index + 1,
            "symbol": rows[kind.subject],
            "ts": rows["ts"],
            "rule": failures["rule"],
            "reason": failures["reason"],
            "original": originals(rows.index) if originals else _as_json(rows),
            "rejected_at": pd.Timestamp(batch.now),
        }
    )
    return pa.Table.from_pandas(frame, preserve_index=False).cast(RAW_REJECTS.schema)


def _flags(batch: _Batch, bars: pd.DataFrame, failures: pd.DataFrame) -> pa.Table:
    frame = bars[["symbol", "interval", "ts"]].assign(
        batch_id=batch.id,
        source=batch.source,
        origin=batch.origin,
        rule=failures["rule"].to_numpy(),
        reason=failures["reason"].to_numpy(),
        flagged_at=pd.Timestamp(batch.now),
    )
    return pa.Table.from_pandas(frame[RAW_FLAGS.schema.names], preserve_index=False).cast(RAW_FLAGS.schema)


def _as_json(rows: pd.DataFrame) -> pd.Series:
    lines = rows.to_json(orient="records", lines=True, date_format="iso").splitlines()
    return pd.Series(lines[: len(rows)], index=rows.index, dtype="object")  # of none it is one empty line


def _write_ledger(lake: Lake, result: BatchResult, payload_hash: str | None, now: datetime) -> bool:
    """Write an entry, in the place of one without a payload hash; False where the batch has one with it already."""
    entry = pa.Table.from_pylist(
        [{**vars(result), "payload_hash": payload_hash, "ingested_at": now}], schema=RAW_BATCHES.schema
    )
    while True:
        version = lake.version("raw/batches")
        assert version is not None
        known = lake.read("raw/batches", ["payload_hash"], pc.field("batch_id") == result.batch_id, version)
        if known.num_rows and known["payload_hash"][0].is_valid:
            return False
        instead_of = f"batch_id = '{result.batch_id}'" if known.num_rows else None
        if lake.append_at("raw/batches", entry, version, instead_of):
            return True
