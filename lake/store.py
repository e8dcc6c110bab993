"""Delta tables by name: create, append, replace a slice, read (columns, filter, version), version. Local path or S3."""

import json
import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    QueryBuilder,
    Schema,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from lake.s3 import delta_options, is_remote
from lake.settings import Settings
from lake.severities import Severities
from lake.tables import TABLES

if TYPE_CHECKING:
    import pyarrow.dataset as ds  # imports pandas, which the API does without

_COMMIT_ATTEMPTS = 8
_RECENT_COMMITS = 5
_ROW_GROUP = 32 * 1024  # rows; a few symbols of a long table are read without the others
_NOTE = "_note.json"  # no reader and no vacuum of Delta minds a file whose name begins so
# The log is kept for ever: by default, versions older than 30 days can no longer be read after a checkpoint.
_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


class Snapshot(NamedTuple):
    """One state of a table; a table that is made anew under the same name has another `id`."""

    id: str
    version: int


class Lake:
    """All Delta tables below one URI; a table is named `<group>/<table>`.

    Parameters
    ----------
    uri : absolute path or `s3://bucket/prefix`.
    storage_options : options of delta-rs' object store; None for a local path.
    severities : what becomes of bars that break a rule of their series.

    Attributes
    ----------
    made_by : what every commit says of who makes it, in its metadata: `dagster_run_id`, `dbt_invocation_id`.
    """

    def __init__(
        self, uri: str, storage_options: dict[str, str] | None = None, severities: Severities | None = None
    ) -> None:
        self.uri = uri.rstrip("/")
        self.storage_options = storage_options
        self.severities = severities or Severities()
        self.made_by: dict[str, str] = {}
        self._created: set[str] = set()  # asked for by every ingestion
        self._datasets: dict[str, tuple[object, ds.Dataset]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Lake":
        """The lake that the settings point at."""
        options = delta_options(settings) if is_remote(settings.lake_uri) else None
        return cls(settings.lake_uri, options, settings.severity)

    def path(self, table: str) -> str:
        """URI of a table."""
        return f"{self.uri}/{table}"

    def exists(self, table: str) -> bool:
        """Whether the table has at least one committed version."""
        return self.version(table) is not None

    def tables(self) -> list[str]:
        """Names of all tables that exist, sorted."""
        return sorted(name for name in self._candidates() if self.exists(name))

    def create(self, table: str) -> None:
        """Create a declared table, empty; nothing happens when it is there.

        Raises
        ------
        KeyError : the table is not declared in `lake.tables`.
        """
        spec = TABLES[table]
        if table in self._created:
            return
        try:
            DeltaTable.create(
                self.path(table),
                spec.schema,
                mode="ignore",
                partition_by=list(spec.partition_by) or None,
                name=table,
                description=spec.description,
                configuration=_CONFIGURATION,
                storage_options=self.storage_options,
            )
        except CommitFailedError:  # two at once: the other one has created it
            if not self.exists(table):
                raise
        self._created.add(table)

    def append(self, table: str, data: pa.Table) -> int:
        """Add rows in one commit and return the new version. The caller has proven that they are new."""
        return self._commit(table, lambda: self._write(table, data, mode="append"))

    def append_at(
        self,
        table: str,
        data: pa.Table | pa.RecordBatchReader,
        version: int,
        instead_of: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Add rows in one commit, if `version` is still the newest; else add nothing and return False.

        They take the place of the rows that match the predicate `instead_of`, where it is given.

        What a caller has concluded from that version (these rows are new, say) then holds for the commit too, however
        many writers there are.

        Parameters
        ----------
        metadata : what the commit shall say beside the rows; :meth:`history` tells it.
        """
        mode = "overwrite" if instead_of else "append"
        return self._wrote_upon(
            version,
            table,
            lambda: self._write(table, data, mode=mode, predicate=instead_of, version=version, metadata=metadata),
        )

    def append_new(self, table: str, data: pa.Table) -> int:
        """Add the rows whose key the declared table does not hold yet, in one commit; return how many these were."""
        spec = TABLES[table]
        key, data = list(spec.key), data.select(spec.schema.names).cast(spec.schema)
        while True:
            version = self.version(table)
            assert version is not None
            known = self.read(table, key, among(key[0], data[key[0]]), version)
            new = data.join(known, key, join_type="left anti")
            if not new.num_rows or self.append_at(table, new, version):
                return int(new.num_rows)

    def replace(
        self,
        table: str,
        data: pa.Table,
        predicate: str | None = None,
        partition_by: Sequence[str] | None = None,
    ) -> int:
        """Replace, in one commit, the rows that match `predicate` (default: all) and return the new version.

        Readers see the old rows or the new ones, never a part. delta-rs refuses rows outside the predicate.

        Parameters
        ----------
        predicate : SQL with literals, for example `year = 2025 and symbol = 'AAPL'`.
        partition_by : partition columns of a table that is not declared; used when it is created.
        """
        return self._commit(
            table,
            lambda: self._write(
                table,
                data,
                mode="overwrite",
                predicate=predicate,
                schema_mode="overwrite" if predicate is None else None,
                partition_by=list(partition_by) if partition_by else None,
            ),
        )

    def replace_at(
        self,
        table: str,
        data: pa.RecordBatchReader,
        version: int | None,
        partition_by: Sequence[str],
        metadata: Mapping[str, str],
    ) -> bool:
        """Make rows the whole content of a table that is not declared, in one commit, if `version` is still the newest.

        Parameters
        ----------
        version : None: the table does not exist yet.
        metadata : what the commit shall say beside the rows; :meth:`history` tells it.

        Returns
        -------
        False where another writer was first, and nothing is written.
        """
        options = {"mode": "error"} if version is None else {"mode": "overwrite", "schema_mode": "overwrite"}
        return self._wrote_upon(
            version,
            table,
            lambda: self._write(table, data, version, metadata, partition_by=list(partition_by) or None, **options),
        )

    def replace_by_files(
        self,
        table: str,
        files: list[AddAction],
        schema: Schema,
        version: int | None,
        *,
        partition_by: Sequence[str],
        metadata: Mapping[str, str],
    ) -> bool:
        """As :meth:`replace_at`, from Parquet files that are in the table's folder already."""
        properties = CommitProperties(custom_metadata={**self.made_by, **metadata}, max_commit_retries=0)

        def adopt() -> None:
            if version is not None:
                self._table(table, version).create_write_transaction(
                    [*files], "overwrite", schema, list(partition_by), commit_properties=properties
                )
            else:
                create_table_with_add_actions(
                    self.path(table),
                    schema,
                    files,
                    partition_by=list(partition_by),
                    configuration={**_CONFIGURATION},
                    storage_options=self.storage_options,
                    commit_properties=properties,
                )

        return self._wrote_upon(version, table, adopt)

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        filters: pc.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table, of its newest version or of an older one.

        Raises
        ------
        deltalake.exceptions.TableNotFoundError : the table does not exist.
        """
        return self._dataset(table, version).to_table(
            columns=list(columns) if columns is not None else None, filter=filters
        )

    def parts(self, table: str, columns: Sequence[str], rows: int = 1_000_000) -> Iterator[pa.Table]:
        """Rows of the newest version of a table, about so many at a time, where all would not fit into memory."""
        part, held = [], 0
        for batch in self._dataset(table).to_batches(columns=list(columns), fragment_readahead=2):
            part.append(batch)
            held += batch.num_rows
            if held >= rows:
                yield pa.Table.from_batches(part)
                part, held = [], 0
        if held:
            yield pa.Table.from_batches(part)

    def select(self, table: str, sql: str, version: int | None = None) -> list[dict[str, Any]]:
        """Rows of a query of delta-rs over one table, which it calls `rows`. Times are best cast to text: no pandas."""
        found = QueryBuilder().register("rows", self._table(table, version)).execute(sql).read_all()
        rows: list[dict[str, Any]] = pa.table(found).to_pylist()
        return rows

    def version(self, table: str) -> int | None:
        """Newest version of a table; None when it does not exist."""
        try:
            return self._table(table).version()
        except TableNotFoundError:
            return None

    def version_at(self, table: str, time: datetime) -> int | None:
        """Version that was the newest at a time; None when the table did not exist yet."""
        commits = self._table(table).history()  # all of them: the log is never shortened
        return max((c["version"] for c in commits if c["timestamp"] <= time.timestamp() * 1000), default=None)

    def snapshot(self, table: str, version: int | None = None) -> Snapshot | None:
        """State of a table, the newest or that of a version; None when it does not exist."""
        try:
            found = self._table(table, version)
        except TableNotFoundError:
            return None
        return Snapshot(str(found.metadata().id), found.version())

    def history(self, table: str) -> Iterator[dict[str, Any]]:
        """What its writers say of each version of a table, the newest first."""
        found = self._table(table)
        seen = _RECENT_COMMITS
        yield from (recent := found.history(seen))
        if len(recent) == seen:  # on S3 each commit is a round trip
            yield from found.history()[seen:]

    def read_file(self, table: str, path: str) -> bytes:
        """Content of a file below a table. Raises `FileNotFoundError`."""
        with self.filesystem(table).open_input_stream(path) as file:
            content: bytes = file.read()
        return content

    def has_files(self, table: str, paths: Collection[str]) -> bool:
        """Whether all these files below a table are there."""
        found = self.filesystem(table).get_file_info(sorted(paths))
        return all(info.type == pafs.FileType.File for info in found)

    def read_note(self, table: str) -> dict[str, Any]:
        """What was noted of a table: hints that save work, and nothing that is not true without them."""
        try:
            note: dict[str, Any] = json.loads(self.read_file(table, _NOTE))
        except (FileNotFoundError, ValueError):  # there is none, or its writer was killed
            return {}
        return note

    def write_note(self, table: str, **hints: object) -> None:
        """Note hints of a table, beside those that are noted under other names."""
        content = json.dumps(self.read_note(table) | hints).encode()
        with self.filesystem(table).open_output_stream(_NOTE) as file:
            file.write(content)

    def columns(self, table: str) -> list[str]:
        """Names of a table's columns."""
        return [field.name for field in self._table(table).schema().fields]

    def partitions(self, table: str) -> list[dict[str, str]]:
        """Values of the partition columns, of each partition that has rows."""
        return self._table(table).partitions()

    def row_count(self, table: str, version: int | None = None) -> int:
        """Number of rows, from the table's own statistics."""
        return self._table(table, version).count()

    def _table(self, table: str, version: int | None = None) -> DeltaTable:
        return DeltaTable(
            self.path(table),
            version=version,
            storage_options=self.storage_options,
        )

    def _dataset(self, table: str, version: int | None = None) -> "ds.Dataset":
        """One version of a table for Arrow; the last one of each table is kept, as hundreds of files take a while."""
        delta = self._table(table, version)
        snapshot = (delta.metadata().id, delta.version())
        kept, dataset = self._datasets.get(table, (None, None))
        if kept != snapshot:
            dataset = delta.to_pyarrow_dataset(filesystem=self.filesystem(table))
            self._datasets[table] = (snapshot, dataset)
        return dataset

    def filesystem(self, folder: str = "") -> pafs.FileSystem:
        """Arrow's own filesystem: delta-rs' Python one can abort the interpreter when it exits right after a read."""
        if not is_remote(self.uri):
            return pafs.SubTreeFileSystem(self.path(folder), pafs.LocalFileSystem())
        options = self.storage_options or {}
        root = pafs.S3FileSystem(
            access_key=options.get("AWS_ACCESS_KEY_ID"),
            secret_key=options.get("AWS_SECRET_ACCESS_KEY"),
            session_token=options.get("AWS_SESSION_TOKEN"),
            region=options.get("AWS_REGION"),
            endpoint_override=options.get("AWS_ENDPOINT_URL"),
        )
        return pafs.SubTreeFileSystem(self.path(folder).removeprefix("s3://"), root)

    def _write(
        self,
        table: str,
        data: pa.Table | pa.RecordBatchReader,
        version: int | None = None,
        metadata: Mapping[str, str] | None = None,
        **options: object,
    ) -> None:
        """Write one commit: upon `version` or, with the mode `error`, upon nothing; else upon whatever is there."""
        spec = TABLES.get(table)
        if spec is not None:
            data = data.select(spec.schema.names).cast(spec.schema)
            options["partition_by"] = list(spec.partition_by) or None
        write_deltalake(
            self.path(table) if version is None else self._table(table, version),
            data,
            configuration=_CONFIGURATION,
            storage_options=self.storage_options,
            writer_properties=_writer_properties(data.schema),
            commit_properties=CommitProperties(
                custom_metadata={**self.made_by, **(metadata or {})},
                max_commit_retries=_COMMIT_ATTEMPTS if version is None and options["mode"] != "error" else 0,
            ),
            **options,  # type: ignore[call-overload]
        )

    def _wrote_upon(self, version: int | None, table: str, write: Callable[[], None]) -> bool:
        """Whether a write that allows for no other version went through; it failed where another one is the newest."""
        try:
            write()
        except DeltaError:
            if self.version(table) == version:
                raise
            return False
        return True

    def _commit(self, table: str, write: Callable[[], None]) -> int:
        for attempt in range(_COMMIT_ATTEMPTS):
            try:
                write()
                break
            except CommitFailedError:  # another writer was first; the slice is idempotent, so write it again
                if attempt == _COMMIT_ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
        version = self.version(table)
        assert version is not None
        return version

    def _candidates(self) -> list[str]:
        """Everything two folders down."""
        filesystem = self.filesystem()

        def folders(path: str) -> list[str]:
            found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
            return [info.path for info in found if info.type == pafs.FileType.Directory]

        return [table for group in folders("") for table in folders(group)]


def _writer_properties(schema: pa.Schema) -> WriterProperties:
    """Row groups of a good size, and no dictionaries of numbers: most of the cost of a write, and little is saved."""
    repeated = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_timestamp(field.type)]
    return WriterProperties(
        max_row_group_size=_ROW_GROUP,
        default_column_properties=ColumnProperties(dictionary_enabled=False),
        column_properties={name: ColumnProperties(dictionary_enabled=True) for name in repeated},
    )


def among(column: str, values: Sequence[object] | pa.ChunkedArray) -> pc.Expression:
    """Filter on the rows with one of these values; the range of the values tells which files need not be opened."""
    options = pc.unique(values if isinstance(values, pa.ChunkedArray) else pa.array(values)).drop_null()
    if not len(options):
        return pc.scalar(False)
    ends = pc.min_max(options)
    field = pc.field(column)
    return (field >= ends["min"]) & (field <= ends["max"]) & field.isin(options)
