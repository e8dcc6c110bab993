"""Spark over the lake: a session with tables as views and the functions of the models, which computes what they say."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import arrow_udf
from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

from lake import calendars, sentiment
from lake.duck import literal
from lake.increments import DuplicateKeysError, Model, Written, next_version
from lake.list_functions import LIST_FUNCTIONS, ListFunction
from lake.store import Lake, Snapshot

_STAGING = "_staging"  # below a table: readers of Delta tables pass over folders with an underscore
_STALE = timedelta(days=1)  # after which a folder there is that of a build that was killed
_ARROW = {"double[]": pa.list_(pa.float64()), "double": pa.float64(), "integer": pa.int32()}
_SQL_TYPES = {"varchar": "string", "timestamp with time zone": "timestamp"}  # that Spark calls otherwise than contracts
_BEGINNING, _END = "timestamp '0001-01-01 00:00:00+00:00'", "timestamp '9999-12-31 00:00:00+00:00'"
_CONFIGURATION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # as Delta has it
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.python.daemon.module": "lake.spark_worker",
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
}


def connect(scratch: Path) -> SparkSession:
    """The session of this process, which knows the functions of the models: the same Python that DuckDB runs.

    Where Spark runs, and with what, is Spark's own configuration: `spark-defaults.conf` in `SPARK_CONF_DIR`, or
    `PYSPARK_SUBMIT_ARGS`; `PYSPARK_PYTHON` is the Python of its workers. Without any, all of it is here.

    Parameters
    ----------
    scratch : folder for what Spark writes beside tables.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("lakehouse").config("spark.sql.warehouse.dir", str(scratch / "spark"))
    for name, value in _CONFIGURATION.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    for function in LIST_FUNCTIONS:
        session.udf.register(function.name, _arrow_udf(function))
    session.udf.register("headline_sentiment", arrow_udf(_headline_sentiments, DoubleType()))
    session.sql(f"""
        create or replace temporary function default_calendar(asset_class string, currency string)
        returns string return {calendars.DEFAULT_CALENDAR}
    """)
    return session


class SparkEngine:
    """Spark in the place of DuckDB where :func:`lake.increments.build` has a model's SQL computed."""

    def __init__(self, session: SparkSession, lake: Lake) -> None:
        self._session = session
        self._lake = lake

    def show(self, table: str, version: int) -> None:
        """(Re)define the view of a version of a lake table: `market/bars` is `` `market.bars` ``."""
        delta = DeltaTable(self._lake.path(table), version=version, storage_options=self._lake.storage_options)
        schema = StructType.fromJson(json.loads(delta.schema().to_json()))
        files = [_uri(file) for file in delta.file_uris()]
        reader = self._session.read.schema(schema).option("basePath", _uri(self._lake.path(table)))
        rows = reader.parquet(*files).select(*schema.names) if files else self._session.createDataFrame([], schema)
        rows.createOrReplaceTempView(_relation(table))

    @contextmanager
    def computed(self, model: Model, sql: str, relations: Mapping[str, pa.Table]) -> Iterator[str]:
        """Compute a query that reads these relations, too; while it lasts, the SQL by which DuckDB reads the result."""
        for name, rows in relations.items():
            self._session.createDataFrame(rows).createOrReplaceTempView(name)
        with _staged(self._session.sql(sql), self._lake, model.table) as staged:
            yield f"select * from read_parquet({literal(f'{staged.path}/*.parquet')})"

    def write_whole(self, model: Model, stored: Snapshot | None, metadata: Mapping[str, str]) -> Written | None:
        """Replace the model's table by files that Spark writes, in one commit upon `stored`, if it is the newest."""
        self._show_whole_scope(model)
        rows = self._session.sql(model.sql)
        with _staged(rows, self._lake, model.table, model.key, model.partition_by) as staged:
            written = self._session.read.schema(rows.schema).parquet(_uri(staged.path))  # no rows are no files
            twice = written.groupBy(*model.key).count().where("count > 1").count()
            if twice:
                raise DuplicateKeysError(model, twice)
            return staged.commit(stored, metadata)

    def _show_whole_scope(self, model: Model) -> None:
        self._session.sql(f"""
            select distinct
                symbol, interval, {_BEGINNING} as first_ts, {_BEGINNING} as read_from,
                cast(null as timestamp) as state_ts, {_END} as until
            from {_relation(model.first_upstream)}
        """).createOrReplaceTempView("_scope")
        state = ", ".join(
            f"cast(null as {_SQL_TYPES.get(kind, kind)}) as {name}" for name, kind in model.columns.items()
        )
        self._session.sql(f"select {state} where false").createOrReplaceTempView("_stored_state")


@dataclass(frozen=True)
class _Staged:
    """Rows for a table as Parquet files in a folder beside it, which readers of the table do not see."""

    lake: Lake
    table: str
    folder: str
    schema: StructType
    key: Sequence[str]
    partition_by: Sequence[str]

    @property
    def path(self) -> str:
        """URI of the folder."""
        return f"{self.lake.path(self.table)}/{self.folder}"

    def commit(self, stored: Snapshot | None, metadata: Mapping[str, str]) -> Written | None:
        """Make the files the whole content of the table, in one commit upon `stored` that says `metadata`.

        They move into the table's folder first, where nobody sees them before the commit. Those that a kill leaves
        there, vacuum deletes.
        """
        folder = self.lake.filesystem(self.table)
        found = folder.get_file_info(pafs.FileSelector(self.folder, recursive=True))
        files = [self._added(folder, info) for info in found if info.path.endswith(".parquet")]
        for file in files:
            folder.create_dir(str(PurePosixPath(file.path).parent))
            folder.move(f"{self.folder}/{file.path}", file.path)
        nullable = StructType([StructField(field.name, field.dataType) for field in self.schema.fields])
        schema = Schema.from_json(nullable.json())
        version = stored.version if stored else None
        is_written = self.lake.replace_by_files(
            self.table, files, schema, version, partition_by=self.partition_by, metadata=metadata
        )
        if not is_written:
            return None
        return Written(next_version(stored), sum(json.loads(file.stats)["numRecords"] for file in files), 1)

    def _added(self, folder: pafs.FileSystem, info: pafs.FileInfo) -> AddAction:
        """The file's entry in the log, with the range of the key, by which readers can skip it."""
        path = PurePosixPath(info.path).relative_to(self.folder)
        footer = pq.read_metadata(info.path, filesystem=folder)
        ranges: dict[str, dict[str, Any]] = {"minValues": {}, "maxValues": {}}
        for position, name in enumerate(footer.schema.names):
            chunks = [footer.row_group(group).column(position).statistics for group in range(footer.num_row_groups)]
            if name in self.key and all(chunk is not None and chunk.has_min_max for chunk in chunks):
                ranges["minValues"][name] = _json(min(chunk.min for chunk in chunks))
                ranges["maxValues"][name] = _json(max(chunk.max for chunk in chunks))
        return AddAction(
            path=str(path),
            size=info.size,
            partition_values=dict(part.split("=", 1) for part in path.parts[:-1]),
            modification_time=int(datetime.now(UTC).timestamp() * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": footer.num_rows, **ranges}),
        )


@contextmanager
def _staged(
    rows: DataFrame, lake: Lake, table: str, key: Sequence[str] = (), partition_by: Sequence[str] = ()
) -> Iterator[_Staged]:
    """Compute rows and write them as Parquet files beside a table, where no other build writes."""
    filesystem = lake.filesystem(table)
    _remove_stale(filesystem)
    staged = _Staged(lake, table, f"{_STAGING}/{uuid4()}", rows.schema, key, partition_by)
    if partition_by:  # files of a good size, each sorted
        rows = rows.hint("rebalance", *partition_by).sortWithinPartitions(*partition_by, *key)
    rows.write.partitionBy(*partition_by).parquet(_uri(staged.path))
    try:
        yield staged
    finally:
        filesystem.delete_dir(staged.folder)


def _remove_stale(folder: pafs.FileSystem) -> None:
    """Delete what killed builds have left beside a table."""
    touched: dict[str, datetime] = {}
    for info in folder.get_file_info(pafs.FileSelector(_STAGING, allow_not_found=True, recursive=True)):
        if info.mtime is not None:  # S3 has none for folders
            build = PurePosixPath(info.path).relative_to(_STAGING).parts[0]
            touched[build] = max(info.mtime, touched.get(build, info.mtime))
    for build, last in touched.items():
        if last < datetime.now(UTC) - _STALE:
            folder.delete_dir(f"{_STAGING}/{build}")


def _arrow_udf(function: ListFunction) -> Any:
    types = [_ARROW[parameter] for parameter in function.parameters]

    def compute(*arguments: pa.Array) -> pa.Array:
        return function(*(argument.cast(kind) for argument, kind in zip(arguments, types, strict=True)))

    return arrow_udf(compute, ArrayType(DoubleType()))


def _headline_sentiments(headlines: pa.Array) -> pa.Array:
    return sentiment.headline_sentiments(headlines)


def _relation(table: str) -> str:
    return f"`{table.replace('/', '.')}`"


def _json(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _uri(path: str) -> str:
    """As Hadoop's filesystems write it."""
    return path.replace("s3://", "s3a://", 1)
