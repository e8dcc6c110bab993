"""Rejected rows: listed, exported to be fixed by hand, and replayed, with a record of what each replay resolved."""

import csv
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lake.ingest import BatchResult, create_raw_tables, delivered_columns, ingest
from lake.sources.base import BAR_COLUMNS
from lake.sources.files.cells import MAX_BYTES, Cells, UnreadableFileError, clip
from lake.sources.files.reading import Reading, interpret, plan
from lake.sources.files.text import read_text
from lake.splice import FILE_SOURCE
from lake.store import Lake
from lake.tables import RAW_RESOLUTIONS, TABLES

_BATCH, _ROW, _TEXT = "reject_batch", "reject_row", "reject_text"
_ADDED = (_BATCH, _ROW, "reject_rule", "reject_reason", _TEXT)
_BATCH_WORD = "batch "  # before the id in the file: a spreadsheet would take 123e456 for a number
_REPLAY = re.compile(r"replay of ([0-9a-f]{16}): ")
# What a spreadsheet runs as a formula. Such a cell is written with an apostrophe before it, which replay takes away.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-][0-9.,]+(?:[eE][+-]?[0-9]+)?")


class RejectsError(ValueError):
    """What was asked cannot be done; the message says why and what can."""


@dataclass(frozen=True)
class Replay:
    """A replay: its batch, the batch whose rejects it replayed, and how many of them it resolved."""

    batch: BatchResult
    of_batch: str
    resolved: int


def list_rejects(
    lake: Lake, *, batch: str = "", source: str = "", rule: str = "", resolved: bool = False
) -> pd.DataFrame:
    """Rejected rows, newest batch first; columns of `raw/rejects` and `resolved_by` (null: still open).

    A row that a replay brought and that was rejected again is not listed: its first reject stays open.

    Parameters
    ----------
    batch : batch id or its beginning; "" for all, as with `source` and `rule`.
    resolved : list resolved rejects too.
    """
    create_raw_tables(lake)
    rejects = lake.read("raw/rejects").to_pandas()
    resolutions = lake.read("raw/resolutions").to_pandas().drop_duplicates(["batch_id", "row_number"])
    keep = ~rejects["origin"].str.match(_REPLAY).astype(bool) & rejects["batch_id"].str.startswith(batch)
    for column, wanted in (("source", source), ("rule", rule)):
        if wanted:
            keep &= rejects[column] == wanted
    found = rejects[keep].merge(resolutions, on=["batch_id", "row_number"], how="left").drop(columns="resolved_at")
    if not resolved:
        found = found[found["resolved_by"].isna()]
    order = ["rejected_at", "batch_id", "row_number"]
    return found.sort_values(order, ascending=[False, True, True]).reset_index(drop=True)


def export_rejects(lake: Lake, batch: str, path: Path) -> int:
    """Write the open rejects of a batch as CSV, to be fixed by hand and replayed; return their number.

    The columns are those of the original, after `reject_batch`, `reject_row`, `reject_rule`, `reject_reason` and
    `reject_text` (the line, where it could not be split into cells; fill in its cells by hand).

    Raises
    ------
    RejectsError : no open rejects in this batch, or the batch is a whole file that could not be read.
    """
    rejects = _open_rejects(lake, batch)
    originals = [_parsed(text) for text in rejects["original"]]
    names = dict.fromkeys(name for cells in originals if isinstance(cells, dict) for name in cells)
    if not names:
        reading = _stored_reading(lake, rejects["batch_id"].iloc[0])
        names = dict.fromkeys(reading.columns.values() if reading else ())
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*_ADDED, *names])
        for reject, cells in zip(rejects.to_dict("records"), originals, strict=True):
            line, fields = ("", cells) if isinstance(cells, dict) else (cells, {})
            added = [
                _BATCH_WORD + reject["batch_id"],
                str(reject["row_number"]),
                reject["rule"],
                reject["reason"],
                line,
            ]
            writer.writerow([_escape(cell) for cell in [*added, *(fields.get(name, "") for name in names)]])
    return len(rejects)


def replay_file(lake: Lake, path: Path) -> Replay:
    """Ingest the fixed rows of an exported file, read as the original file was, as rows of the source `file`.

    A row that is resolved already, or whose cells are all empty, is passed over, so the same file again adds nothing.

    Raises
    ------
    RejectsError : not an exported file, or nothing in it is left to replay.
    UnreadableFileError : the file cannot be read as text.
    """
    with path.open("rb") as file:
        cells = read_text(file.read(MAX_BYTES + 1), path.name, None)
    if cells.broken:
        line, problem = next(iter(cells.broken.values()))
        raise RejectsError(f"{path.name}: {problem} ({line[:100]!r}); nothing was replayed")
    rows = pd.DataFrame({name: cells.table[name].to_pandas() for name in cells.table.column_names}, dtype=object)
    if not {_BATCH, _ROW} <= set(rows) or rows[_BATCH].nunique() != 1:
        raise RejectsError(f"{path.name}: not a file that `lakehouse rejects export` wrote, of one batch")
    rejects = _open_rejects(lake, str(rows[_BATCH].iloc[0]).removeprefix(_BATCH_WORD))
    if not rows[_ROW].str.fullmatch("[0-9]{1,18}").all():
        raise RejectsError(f"{path.name}: {_ROW} must be the number of a rejected row; nothing was replayed")
    names = [name for name in rows if name not in _ADDED]
    numbers = rows[_ROW].astype("int64")
    wanted = numbers.isin(rejects["row_number"]) & (rows[names] != "").any(axis=1)
    if not wanted.any():
        raise RejectsError(f"{path.name}: none of its rows is an open reject with cells to replay")
    fixed = pa.table({name: pa.array(rows[name][wanted].map(_unescape), pa.string()) for name in names})
    replayed = rejects.set_index("row_number").loc[numbers[wanted]].assign(source=FILE_SOURCE)
    return _replay(lake, replayed.reset_index(), Cells(fixed), path.name)


def replay_batch(lake: Lake, batch: str) -> Replay:
    """Judge the open rejects of a batch anew as they are, for example after the series that they extend has grown.

    Lines that could not be split into cells stay open, and so do duplicates: an earlier row of the batch must not come
    back over the later one that was accepted. Raises `RejectsError` when nothing is left to replay.
    """
    rejects = _open_rejects(lake, batch)
    rejects = rejects[rejects["rule"] != "duplicate_key"]
    rejects = rejects.assign(cells=rejects["original"].map(_parsed))
    rejects = rejects[rejects["cells"].map(lambda cells: isinstance(cells, dict))]
    if rejects.empty:
        raise RejectsError(f"batch {batch}: its rejects are duplicates or lines without cells; export and fix them")
    names = dict.fromkeys(name for row in rejects["cells"] for name in row)
    cells = {name: pa.array([row.get(name, "") for row in rejects["cells"]], pa.string()) for name in names}
    return _replay(lake, rejects, Cells(pa.table(cells)), "as they were")


def _replay(lake: Lake, rejects: pd.DataFrame, cells: Cells, what: str) -> Replay:
    """Ingest `cells`, row by row in place of `rejects`, and note which of them that resolved."""
    batch_id, table = str(rejects["batch_id"].iloc[0]), str(rejects["raw_table"].iloc[0])
    reading = _reading(lake, rejects, cells, what) if table == "raw/bars" else None
    needed = reading.columns.values() if reading else delivered_columns(table)
    if missing := set(needed) - set(cells.table.column_names):
        raise RejectsError(f"{what}: column {min(missing)!r} is missing; nothing was replayed")
    rows, unreadable = interpret(cells, reading) if reading else _typed(cells, table)
    result = ingest(
        lake,
        rows,
        str(rejects["source"].iloc[0]),
        f"replay of {batch_id}: {what}",
        table=table,
        originals=cells.originals,
        unreadable=unreadable,
        again=True,
    )
    again = lake.read("raw/rejects", ["row_number"], pc.field("batch_id") == result.batch_id)["row_number"].to_pandas()
    failed = rejects["row_number"].iloc[again - 1]
    resolved = sorted(set(rejects["row_number"]) - set(failed))
    now = datetime.now(UTC)
    entries: list[dict[str, Any]] = [
        {"batch_id": batch_id, "row_number": number, "resolved_by": result.batch_id, "resolved_at": now}
        for number in resolved
    ]
    if entries:
        lake.append_new("raw/resolutions", pa.Table.from_pylist(entries, schema=RAW_RESOLUTIONS.schema))
    return Replay(result, batch_id, len(resolved))


def _reading(lake: Lake, rejects: pd.DataFrame, cells: Cells, what: str) -> Reading:
    try:
        return _stored_reading(lake, rejects["batch_id"].iloc[0]) or plan(cells, rejects["origin"].iloc[0], None)
    except UnreadableFileError as error:
        raise RejectsError(f"{what}: {error}; nothing was replayed") from error


def _typed(cells: Cells, table: str) -> tuple[pd.DataFrame, pd.Series]:
    """Rows of a table other than bars, and the first cell of each that cannot be read, in words."""
    rows = pd.DataFrame(index=range(cells.table.num_rows))
    unreadable = pd.Series(pd.NA, index=rows.index, dtype="string")
    for name in delivered_columns(table):
        text = cells.table[name].to_pandas()
        text = text.where(text != "", None)
        kind = TABLES[table].schema.field(name).type
        rows[name] = text
        if pa.types.is_timestamp(kind):
            stamps = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
            rows[name] = stamps.astype("datetime64[ns, UTC]")
        elif not pa.types.is_string(kind):
            numbers = pd.to_numeric(text, errors="coerce").astype("float64")
            rows[name] = numbers.where(numbers % 1 == 0).astype("Int32") if pa.types.is_integer(kind) else numbers
        problem = name + " " + text.map(lambda cell: repr(clip(cell, 100)), na_action="ignore") + " cannot be read"
        unreadable = unreadable.fillna(problem.where(rows[name].isna()).astype("string"))
    return rows, unreadable


def _open_rejects(lake: Lake, batch: str) -> pd.DataFrame:
    rejects = list_rejects(lake, batch=batch)
    found = rejects["batch_id"].unique()
    if len(found) > 1:
        raise RejectsError(f"{batch!r} is the beginning of several batches: {', '.join(sorted(found))}")
    if not batch or rejects.empty:
        origins = lake.read("raw/batches", ["batch_id", "origin"]).to_pandas().set_index("batch_id")["origin"]
        first = _REPLAY.match(str(origins.get(batch, "")))
        hint = f"; it is a replay, see batch {first[1]}" if first else ""
        raise RejectsError(f"batch {batch!r} has no open rejects{hint}")
    if any(_parsed(text) is None for text in rejects["original"]):
        origin = rejects["origin"].iloc[0]
        raise RejectsError(f"{origin} could not be read as a whole: fix the file and ingest it again")
    return rejects


def _parsed(original: str) -> dict[str, str] | str | None:
    """Cells of a reject, or its line; None for the text of a whole file."""
    try:
        value = json.loads(original)
    except ValueError:
        return None
    if isinstance(value, dict):
        return {str(name): "" if cell is None else str(cell) for name, cell in value.items()}
    return value if isinstance(value, str) else None


def _stored_reading(lake: Lake, batch_id: str) -> Reading | None:
    rows = lake.read("raw/readings", ["reading"], pc.field("batch_id") == batch_id)["reading"].to_pylist()
    if rows:
        return Reading(**json.loads(rows[0]))
    source = lake.read("raw/batches", ["source"], pc.field("batch_id") == batch_id)["source"].to_pylist()
    if source and source[0] != FILE_SOURCE:
        return Reading("lake", {column: column for column in BAR_COLUMNS})
    return None


def _escape(cell: str) -> str:
    return "'" + cell if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def _unescape(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
