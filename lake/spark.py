"""Spark over the lake: a session with tables as views and the functions of the models, and its files as a commit."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import arrow_udf
from pyspark.sql.types import ArrayType, DoubleType, StructField, StructType

from lake.list_functions import LIST_FUNCTIONS, ListFunction
from lake.store import Lake

_STAGING = "_staging"  # below a table: readers of Delta tables pass over folders with an underscore
_ARROW = {"double[]": pa.list_(pa.float64()), "double": pa.float64(), "integer": pa.int32()}
_CONFIGURATION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # as Delta has it
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def connect(lake: Lake, scratch: Path) -> SparkSession:
    """The session of this process, in which table `market/bars` reads as `` `market.bars` ``.

    Where Spark runs, and with what, is Spark's own configuration: `spark-defaults.conf` in `SPARK_CONF_DIR`, or
    `PYSPARK_SUBMIT_ARGS`; `PYSPARK_PYTHON` is the Python of its workers. Without any, all of it is here.

    Parameters
    ----------
    scratch : folder for what Spark writes beside tables.

    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # of the workers
    builder = SparkSession.builder.appName("lakehouse").config("spark.sql.warehouse.dir", str(scratch / "spark"))
    for name, value in _CONFIGURATION.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    register(session)
    for table in lake.tables():
        show(session, lake, table)
    return session


def register(session: SparkSession) -> None:
    """Make the functions that models use known to a session: the same Python that DuckDB runs."""
    for function in LIST_FUNCTIONS:
        session.udf.register(function.name, _arrow_udf(function))


def _arrow_udf(function: ListFunction) -> Any:
    types = [_ARROW[parameter] for parameter in function.parameters]

    def compute(*arguments: pa.Array) -> pa.Array:
        return function(*(argument.cast(kind) for argument, kind in zip(arguments, types, strict=True)))

    return arrow_udf(compute, ArrayType(DoubleType()))


def show(session: SparkSession, lake: Lake, table: str, version: int | None = None) -> None:
    """(Re)define the view of one lake table, pinned to `version`; the newest one without it."""
    delta = DeltaTable(lake.path(table), version=version, storage_options=lake.storage_options)
    schema = StructType.fromJson(json.loads(delta.schema().to_json()))
    files = [_uri(file) for file in delta.file_uris()]
    reader = session.read.schema(schema).option("basePath", _uri(lake.path(table)))
    rows = reader.parquet(*files).select(*schema.names) if files else session.createDataFrame([], schema)
    rows.createOrReplaceTempView(f"`{table.replace('/', '.')}`")


def stage(rows: DataFrame, lake: Lake, table: str, key: Sequence[str], partition_by: Sequence[str]) -> "Staged":
    """Compute rows and write them as Parquet files beside a table; what was there of an earlier build is replaced."""
    staged = Staged(lake, table, rows.schema, key, partition_by)
    balanced = rows.hint("rebalance", *partition_by).sortWithinPartitions(*partition_by, *key)
    balanced.write.partitionBy(*partition_by).mode("overwrite").parquet(_uri(staged.path))
    return staged


@dataclass(frozen=True)
class Staged:
    """Rows for a table as Parquet files in a folder beside it, which readers of the table do not see."""

    lake: Lake
    table: str
    schema: StructType
    key: Sequence[str]
    partition_by: Sequence[str]

    @property
    def path(self) -> str:
        """URI of the folder."""
        return f"{self.lake.path(self.table)}/{_STAGING}"

    def commit(self, metadata: dict[str, str] | None = None) -> int:
        """Make the files the whole content of the table, in one commit that says `metadata`; return the new version.

        They move into the table's folder first, where nobody sees them before the commit. Those that a kill leaves
        there, vacuum deletes.
        """
        folder = self.lake.filesystem(self.table)
        found = folder.get_file_info(pafs.FileSelector(_STAGING, recursive=True))
        files = [self._added(folder, info) for info in found if info.path.endswith(".parquet")]
        nullable = StructType([StructField(field.name, field.dataType) for field in self.schema.fields])
        for file in files:
            folder.create_dir(str(PurePosixPath(file.path).parent))
            folder.move(f"{_STAGING}/{file.path}", file.path)
        schema = Schema.from_json(nullable.json())
        return self.lake.replace_by_files(self.table, files, schema, self.partition_by, metadata)

    def discard(self) -> None:
        """Delete the folder."""
        self.lake.filesystem(self.table).delete_dir(_STAGING)

    def _added(self, folder: pafs.FileSystem, info: pafs.FileInfo) -> AddAction:
        """The file's entry in the log, with the range of the key, by which readers can skip it."""
        path = PurePosixPath(info.path).relative_to(_STAGING)
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


def _json(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _uri(path: str) -> str:
    """As Hadoop's filesystems write it."""
    return path.replace("s3://", "s3a://", 1)
