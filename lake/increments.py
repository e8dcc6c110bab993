"""Incremental builds: what follows from the rows that came or went upstream is computed, compared and committed alone.

macros/scope.sql tells what a model may rely on. A model's SQL reads the relations `_scope` and `_stored_state` and is
run once for each piece of what there is to build, with the bounds of the piece in the place of the comments
`/*first_ts*/ true` and `/*read_from*/ true`. Each commit carries what it was built from: the versions of the upstreams
and the fingerprint of the SQL. Rows that follow from neither are never read.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from duckdb import DuckDBPyConnection

from lake import duck
from lake.changes import SLICES, changed_rows
from lake.derived import functions_source
from lake.duck import literal
from lake.slices import changed_keys, predicates, same_key
from lake.store import Lake, Snapshot

_REVISION = 1  # of this module: with another one all tables are built anew
_ATTEMPTS = 5  # of a build beside other writers
_TRANSPARENT = ("OPTIMIZE", "VACUUM START", "VACUUM END")  # operations that leave rows as they are
_BEGINNING = "cast('0001-01-01 00:00:00+00' as timestamp with time zone)"
_END = "cast('9999-12-31 00:00:00+00' as timestamp with time zone)"
_BARS_A_DAY = {"1d": 1.0, "1h": 6.5, "1m": 390.0}  # of the series that trade the fewest: stocks
_DAYS_A_SESSION, _SPARE_DAYS = 1.5, 30  # how far back so many sessions reach, holidays included
_PIECE_ROWS = 100_000
_PIECES_AT_ONCE = 2  # of a full build
_BATCH_ROWS = 8_192  # of a full build, that the writer takes at once
_MOST_ROWS_IN_SCOPE = 2_000_000  # beyond, all is built anew
_LISTED_SYMBOLS = 20
_BUILT_FROM = "built_from"  # in the custom metadata of a commit
_JOIN_SCOPE = "inner join _scope on stored.symbol = _scope.symbol and stored.interval = _scope.interval"


@dataclass(frozen=True)
class Model:
    """A model as dbt compiles it.

    Attributes
    ----------
    table : lake table that it makes.
    sql : gives the rows of the table that are in scope.
    columns : name and SQL type of the columns in its contract.
    key, partition_by : of the table.
    changed_by, lookback, warm, across_symbols, sparse : its config, see macros/scope.sql.
    """

    table: str
    sql: str
    columns: Mapping[str, str]
    key: Sequence[str]
    changed_by: Mapping[str, str]
    partition_by: Sequence[str] = ()
    lookback: int = 0
    warm: str = "true"
    across_symbols: bool = False
    sparse: bool = False

    @property
    def first_upstream(self) -> str:
        """The lake table whose series are those of the model."""
        return next(iter(self.changed_by))

    @property
    def fingerprint(self) -> str:
        """Changes with whatever the rows follow from besides the upstreams: SQL, macros, variables, list functions."""
        return hashlib.sha256(f"{_REVISION}{json.dumps(asdict(self))}{functions_source()}".encode()).hexdigest()


class Written(NamedTuple):
    """What a build has done.

    Attributes
    ----------
    version : of the table that is up to date.
    rows, slices : that were written; none where nothing changed.
    removed : rows whose keys are gone; a full build does not look for them.
    """

    version: int
    rows: int
    slices: int
    removed: int = 0


class OvertakenError(RuntimeError):
    """Other writers of the table were faster, again and again; nothing is written."""

    def __init__(self, model: Model) -> None:
        super().__init__(f"{model.table} is left as it is: {_ATTEMPTS} times another writer was faster")


class DuplicateKeysError(ValueError):
    """A model gives several rows with the same key; nothing is written."""

    def __init__(self, model: Model, keys: int) -> None:
        columns = ", ".join(model.key)
        super().__init__(f"{model.table} is left as it was: {keys} of its keys ({columns}) would have several rows")


class Engine(Protocol):
    """What computes the SQL of models where DuckDB, which still finds what there is to do, does not do it itself."""

    def show(self, table: str, version: int) -> None:
        """(Re)define the view of a version of a lake table."""

    def computed(self, model: Model, sql: str, relations: Mapping[str, pa.Table]) -> AbstractContextManager[str]:
        """Compute a query that reads these relations, too; while it lasts, SQL by which DuckDB reads the result."""

    def write_whole(self, model: Model, stored: Snapshot | None, metadata: Mapping[str, str]) -> Written | None:
        """Make all rows that the model gives its table, in one commit upon `stored` that says `metadata`.

        None where another writer was first.
        """


def build(
    connection: DuckDBPyConnection,
    lake: Lake,
    model: Model,
    snapshots: Mapping[str, Snapshot],
    *,
    engine: Engine | None = None,
    full_refresh: bool = False,
) -> Written:
    """Bring a model's table up to date with its upstreams, in one commit or, where nothing changes, in none.

    Where another writer of the table is faster, what there is to do is found out anew.

    Parameters
    ----------
    connection : shows the upstreams; no other thread works on it.
    snapshots : of each upstream, the one that `connection` shows.
    engine : shows the same and computes the model; default: `connection` itself does.
    full_refresh : build all of it anew, whatever it was built from.

    Raises
    ------
    DuplicateKeysError : two rows have the same key.
    OvertakenError : another writer was faster each time.
    """
    for _ in range(_ATTEMPTS):
        stored = lake.snapshot(model.table)
        written = _build_upon(connection, lake, model, stored, snapshots, engine=engine, full_refresh=full_refresh)
        if written is not None:
            return written
    raise OvertakenError(model)


def _build_upon(
    connection: DuckDBPyConnection,
    lake: Lake,
    model: Model,
    stored: Snapshot | None,
    snapshots: Mapping[str, Snapshot],
    *,
    engine: Engine | None,
    full_refresh: bool,
) -> Written | None:
    """Bring the table from this state up to date; None where that is not its newest state any more."""
    upstreams = {table: snapshots[table] for table in model.changed_by}
    metadata = {_BUILT_FROM: json.dumps({"fingerprint": model.fingerprint, "upstreams": upstreams})}
    last = None if stored is None or full_refresh else _last_build(lake, model, stored)
    if stored is None or last is None:
        return _write_whole(connection, lake, model, stored, metadata, engine=engine)
    if last.upstreams == upstreams or _is_ahead(lake, last.upstreams, upstreams):
        return Written(stored.version, 0, 0)
    connection.execute(f"create or replace temp view stored as {duck.scan(lake, model.table, stored.version)}")
    if not _find_scope(connection, lake, model, last.upstreams, upstreams):
        return _write_whole(connection, lake, model, stored, metadata, engine=engine)
    written = _write_changes(connection, lake, model, stored, metadata, engine=engine)
    if written and not written.slices:  # no commit says so, and next time nobody need look at these changes again
        lake.write_note(model.table, up_to_date={"snapshot": (stored.id, last.version), "upstreams": upstreams})
    return written


class _LastBuild(NamedTuple):
    version: int
    upstreams: dict[str, Snapshot]


def _last_build(lake: Lake, model: Model, stored: Snapshot) -> _LastBuild | None:
    """What the table follows from; None where that is other SQL, or somebody else has written since."""
    for commit in lake.history(model.table):
        version = commit["version"]
        if version <= stored.version and _BUILT_FROM in commit:
            built_from, checked = json.loads(commit[_BUILT_FROM]), lake.read_note(model.table).get("up_to_date", {})
            if built_from["fingerprint"] != model.fingerprint:
                return None
            upstreams = (checked if checked.get("snapshot") == [stored.id, version] else built_from)["upstreams"]
            return _LastBuild(version, {table: Snapshot(*it) for table, it in upstreams.items()})
        if version <= stored.version and commit["operation"] not in _TRANSPARENT:
            return None
    return None


def _is_ahead(lake: Lake, then: Mapping[str, Snapshot], now: Mapping[str, Snapshot]) -> bool:
    """Whether the table follows from newer upstreams already: a build that began later was done earlier."""
    return all(
        then[table].id == snapshot.id and snapshot.version <= then[table].version <= (lake.version(table) or 0)
        for table, snapshot in now.items()
    )


def _find_scope(
    connection: DuckDBPyConnection,
    lake: Lake,
    model: Model,
    then: Mapping[str, Snapshot],
    now: Mapping[str, Snapshot],
) -> bool:
    """Fill the table `series` with those that may have changed; False where it is as well to build everything."""
    connection.execute("""
        create or replace temp table reported (symbol varchar, interval varchar, ts timestamp with time zone)
    """)
    for table, query in model.changed_by.items():
        if then[table] != now[table]:
            rows = changed_rows(lake, table, then[table], now[table])
            if rows is None:
                return False
            connection.execute(f"create or replace temp table changes as {rows}")
            if "ts" in lake.columns(table):  # as a variable it is a literal to the planner, which then opens few files
                connection.execute("set variable first_change = (select min(ts) from changes)")
            connection.execute(f"insert into reported select symbol, interval, ts from ({query})")
    connection.execute(f"""
        create or replace temp table changes as
        select symbol, interval, min(coalesce(ts, {_BEGINNING})) as ts
        from reported
        group by all
    """)
    if model.across_symbols:
        connection.execute("insert into changes select null, interval, min(ts) from changes group by interval")
    (everyone,) = _row(connection, "select min(ts) from changes where symbol is null")
    known = " union ".join(
        f"select symbol, interval from {relation} where {'false' if everyone is None else f'ts >= {literal(everyone)}'}"
        for relation in ("stored", duck.relation(model.first_upstream))
    )
    connection.execute(f"""
        create or replace temp table first_changes as
        with listed as (
            select symbol, interval, ts from changes where symbol is not null
            union all
            select known.symbol, known.interval, ts
            from changes
            inner join ({known}) as known
                on coalesce(changes.interval, known.interval) = known.interval
            where changes.symbol is null
        )
        select symbol, intervals.interval, min(ts) as first_ts
        from listed
        inner join (values {", ".join(f"('{interval}')" for interval in _BARS_A_DAY)}) as intervals (interval)
            on coalesce(listed.interval, intervals.interval) = intervals.interval
        group by all
    """)
    if model.across_symbols:
        together = f"""
            select
                symbol, interval, min(first_ts) over (partition by interval) as first_ts, first_ts as read_from,
                null as state_ts, {_END} as until, 0 as rows
            from first_changes
        """
        _list_series(connection, together)
    else:
        _list_series(connection, _restarts(connection, model))
    return not _is_large(connection, lake, model, now)


def _is_large(connection: DuckDBPyConnection, lake: Lake, model: Model, now: Mapping[str, Snapshot]) -> bool:
    """Whether what is in scope would not fit into memory, or is most of the table: then a full build is as quick."""
    (pieces,) = _row(connection, "select count(distinct piece) from series")
    if pieces < 2 and not model.across_symbols:
        return False
    (rows,) = _row(
        connection,
        f"""
        select count(*)
        from {duck.relation(model.first_upstream)} as upstream
        inner join series on upstream.symbol = series.symbol and upstream.interval = series.interval
        where upstream.ts >= series.first_ts and {_bounds(connection, "from series", "upstream", "first_ts")}
        """,
    )
    most = max(_PIECE_ROWS, lake.row_count(model.first_upstream, now[model.first_upstream].version) // 2)
    return bool(rows > min(most, _MOST_ROWS_IN_SCOPE))


def _restarts(connection: DuckDBPyConnection, model: Model) -> str:
    """SQL of the series with first changes: from when on each is read, and from which row its recursions go on."""
    reaches = ", ".join(
        f"('{interval}', {bars}, {int(model.lookback / bars * _DAYS_A_SESSION) + _SPARE_DAYS})"
        for interval, bars in _BARS_A_DAY.items()
    )
    (since,) = _row(connection, "select min(first_ts) from first_changes")
    newest = "null"
    if since is not None:
        newest = f"(select max(ts) from {duck.relation(model.first_upstream)} where ts >= {literal(since)})"
    connection.execute(f"""
        create or replace temp table reached as
        select *, if(first_ts = {_BEGINNING}, first_ts, first_ts - to_days(reach)) as reach_ts
        from first_changes
        inner join (values {reaches}) as reaches (interval, bars_a_day, reach) using (interval)
    """)
    last_rows, counted = [], duck.relation(model.first_upstream) if model.sparse else "stored"
    for interval in _BARS_A_DAY:
        series = f"from reached where interval = '{interval}' and first_ts > {_BEGINNING}"
        last_rows.append(f"""
            select
                symbol, interval, max(ts) as last_ts,
                count(*) >= {model.lookback} and arg_max(coalesce({model.warm}, false), ts) as is_warm
            from {counted} as stored
            inner join reached using (symbol, interval)
            where ts >= reach_ts and ts < first_ts and {_bounds(connection, series, "stored", "reach_ts", "first_ts")}
            group by all
        """)
    return f"""
        select
            symbol, interval,
            if(is_warm, first_ts, {_BEGINNING}) as first_ts,
            if(is_warm, reach_ts, {_BEGINNING}) as read_from,
            if(is_warm, last_ts, null) as state_ts,
            {_END} as until,
            -- a guess; a row that is only read costs less than one that is made
            {model.lookback} / 16 + bars_a_day * if(is_warm, greatest(date_diff('day', first_ts, {newest}), 1), 5000)
                as rows
        from reached
        left join ({" union all ".join(last_rows)}) as last_rows using (symbol, interval)
    """


def _list_everything(connection: DuckDBPyConnection, model: Model) -> None:
    """Fill the table `series` with all that the first upstream has."""
    if model.across_symbols:  # year after year, each with all symbols
        first_ts, until, rows = "date_trunc('year', ts)", "first_ts + to_years(1)", "0"
    else:
        first_ts, until, rows = _BEGINNING, _END, "count(*)"
    _list_series(
        connection,
        f"""
        select
            symbol, interval, {first_ts} as first_ts, first_ts as read_from, null as state_ts, {until} as until,
            {rows} as rows
        from {duck.relation(model.first_upstream)}
        group by all
        """,
    )


def _list_series(connection: DuckDBPyConnection, series: str) -> None:
    """Cut series, each with its number of rows, into pieces that fit into memory: neighbours, of one interval."""
    connection.execute(f"""
        create or replace temp table series as
        select * exclude (rows, restart, bucket), dense_rank() over (order by interval, restart, bucket) as piece
        from (
            select
                *,
                if(state_ts is null, first_ts, null) as restart, -- series that are read whole stand apart
                floor(sum(rows) over (partition by interval, restart order by symbol) / {_PIECE_ROWS}) as bucket
            from ({series})
        )
    """)


def _pieces(connection: DuckDBPyConnection, model: Model, has_state: bool) -> Iterator[str]:
    """SQL of each piece of `series`, to be run before the next one is asked for."""
    for (piece,) in connection.execute("select distinct piece from series order by piece").fetchall():
        connection.execute(f"create or replace temp table _scope as from series where piece = {piece}")
        if has_state:
            bounds = _bounds(connection, "from _scope where state_ts is not null", "stored", "state_ts", "state_ts")
            connection.execute(f"""
                create or replace temp view _stored_state as
                select stored.* from stored {_JOIN_SCOPE} where stored.ts = _scope.state_ts and {bounds}
            """)
        sql = model.sql
        for since in ("first_ts", "read_from"):
            bounds = _bounds(connection, "from _scope", "upstream", since)
            sql = sql.replace(f"/*{since}*/ true", f"upstream.ts < _scope.until and {bounds}")
        yield sql


def _bounds(connection: DuckDBPyConnection, series: str, alias: str, low: str, high: str | None = None) -> str:
    """Condition with literals that all rows of some series meet: it tells which files need not be opened."""
    least, most, first, last, intervals, symbols = _row(
        connection,
        f"""
        select
            min({low}), max({high or "null"}), min(symbol), max(symbol), list(distinct interval),
            list(distinct symbol order by symbol)
        {series}
        """,
    )
    if not symbols:
        return "false"
    terms = [f"{alias}.ts >= {literal(least)}"]
    if most is not None:
        terms.append(f"{alias}.ts <= {literal(most)}")
    if len(intervals) == 1:
        terms.append(f"{alias}.interval = {literal(*intervals)}")
    if len(symbols) <= _LISTED_SYMBOLS:
        terms.append(f"{alias}.symbol in ({', '.join(map(literal, symbols))})")
    else:
        terms.append(f"{alias}.symbol between {literal(first)} and {literal(last)}")
    return " and ".join(terms)


def _write_whole(
    connection: DuckDBPyConnection,
    lake: Lake,
    model: Model,
    stored: Snapshot | None,
    metadata: Mapping[str, str],
    *,
    engine: Engine | None,
) -> Written | None:
    """Replace the table in one commit, piece after piece: the next one is computed while one is written."""
    if engine:
        return engine.write_whole(model, stored, metadata)
    _list_everything(connection, model)
    connection.execute("create or replace temp table _scope as from series where false")
    state = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in model.columns.items())
    no_state = f"create or replace temp view _stored_state as select {state} where false"
    connection.execute(no_state)
    schema = connection.execute(f"from ({model.sql}) limit 0").to_arrow_table().schema

    def pieces() -> Iterator[Callable[[], pa.Table]]:
        for sql in _pieces(connection, model, has_state=False):
            scope = connection.execute("from _scope").to_arrow_table()
            yield partial(_piece, connection.cursor(), model, sql, scope, no_state)

    rows = _Counted(schema, (batch for piece in _ahead(pieces()) for batch in piece.to_batches(_BATCH_ROWS)))
    version = stored.version if stored else None
    with _one_thread_each(connection):
        if not lake.replace_at(model.table, rows.reader, version, model.partition_by, metadata):
            return None
    return Written(next_version(stored), rows.count, 1)


class _Counted:
    """Batches of rows, to be read once, and how many rows were read."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self.count = 0
        self.reader = pa.RecordBatchReader.from_batches(schema, self._read(batches))

    def _read(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.count += batch.num_rows
            yield batch


def next_version(stored: Snapshot | None) -> int:
    """The version that a commit upon this state makes."""
    return stored.version + 1 if stored else 0


@contextmanager
def _one_thread_each(connection: DuckDBPyConnection) -> Iterator[None]:
    """No more threads for a query than the one that asks: queries that run at once get in each other's way."""
    connection.execute("set threads = 1")
    try:
        yield
    finally:
        connection.execute("reset threads")


def _piece(cursor: DuckDBPyConnection, model: Model, sql: str, scope: pa.Table, no_state: str) -> pa.Table:
    """Rows of one piece of a full build, on a connection of its own."""
    with cursor:
        cursor.execute("set timezone = 'UTC'")
        cursor.register("_scope", scope)
        cursor.execute(no_state)
        piece = cursor.execute(sql).to_arrow_table()
        cursor.register("piece", piece)
        _refuse_duplicates(cursor, model)
    return piece


def _ahead(computations: Iterator[Callable[[], pa.Table]]) -> Iterator[pa.Table]:
    """The results in this order, of which other threads compute the next ones meanwhile."""
    with ThreadPoolExecutor(_PIECES_AT_ONCE) as workers:
        coming = deque(workers.submit(computation) for computation in islice(computations, _PIECES_AT_ONCE))
        while coming:
            table = coming.popleft().result()
            coming.extend(workers.submit(computation) for computation in islice(computations, 1))
            yield table


def _write_changes(
    connection: DuckDBPyConnection,
    lake: Lake,
    model: Model,
    stored: Snapshot,
    metadata: Mapping[str, str],
    *,
    engine: Engine | None,
) -> Written | None:
    """Write the slices in which the rows of `series` are not those that are stored."""
    identity = list(dict.fromkeys([*model.key, *model.partition_by]))

    connection.execute("create or replace temp table new as from stored limit 0")
    connection.execute("create or replace temp view old as from stored")
    connection.execute(f"create or replace temp table changed as {changed_keys(connection, 'new', 'new', identity)}")
    for sql in _pieces(connection, model, has_state=True):
        with _computed(connection, model, sql, engine) as rows:
            connection.execute(f"create or replace temp table piece as {rows}")
        _refuse_duplicates(connection, model)
        bounds = _bounds(connection, "from _scope", "stored", "first_ts")
        connection.execute(f"""
            create or replace temp view old as
            select stored.* from stored {_JOIN_SCOPE} where stored.ts >= _scope.first_ts and {bounds}
        """)
        differing = changed_keys(connection, "piece", "old", identity)
        connection.execute(f"create or replace temp table differing as {differing}")
        connection.execute("insert into changed from differing")
        in_it = same_key("piece", "differing", model.key)
        connection.execute(f"insert into new by name from piece semi join differing on {in_it}")
    changed, known, gone = _row(
        connection, "select count(*), count(*) filter (where is_known), count(*) filter (where is_gone) from changed"
    )
    if not changed:
        return Written(stored.version, 0, 0)
    found = predicates(connection, "changed", model.key, model.partition_by)
    source, predicate = "from new", None
    if known:  # a slice may also hold rows that stay as they are
        predicate, in_changed = " or ".join(found), same_key("stored", "changed", model.key)
        metadata = {**metadata, SLICES: predicate}
        source += f"""
            union all by name
            select stored.* from stored anti join changed on {in_changed} where {predicate}
        """
    reader = connection.execute(f"from ({source}) order by {', '.join(model.key)}").to_arrow_reader()
    counted = _Counted(reader.schema, reader)
    if not lake.append_at(model.table, counted.reader, stored.version, predicate, metadata):
        return None
    return Written(next_version(stored), counted.count, len(found), gone)


@contextmanager
def _computed(connection: DuckDBPyConnection, model: Model, sql: str, engine: Engine | None) -> Iterator[str]:
    """SQL for DuckDB of the rows that a query gives."""
    if engine is None:
        yield sql
        return
    names = ("_scope", "_stored_state")
    relations = {name: connection.execute(f"from {name}").to_arrow_table() for name in names}
    with engine.computed(model, sql, relations) as rows:
        yield rows


def _refuse_duplicates(connection: DuckDBPyConnection, model: Model) -> None:
    columns = ", ".join(model.key)
    (twice,) = _row(connection, f"select count(*) from (select {columns} from piece group by all having count(*) > 1)")
    if twice:
        raise DuplicateKeysError(model, twice)


def _row(connection: DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return row
