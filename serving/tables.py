"""Tables of the lake, read by the query engine inside delta-rs: importing pyarrow alone would cost 40 MB."""

import time
from collections.abc import Iterator
from typing import Any

from deltalake import DeltaTable, QueryBuilder

from lake.s3 import delta_options, is_remote
from lake.settings import Settings

# Asking an open table for newer versions is cheap but does not notice that the lake was deleted or built anew.
REOPEN_SECONDS = 10.0
# One partition: each further one costs memory, and the answers are small.
_OPTIONS = {"datafusion.execution.target_partitions": "1"}


class LakeTable:
    """One table that is followed. Not for several threads at once.

    Its methods raise whatever delta-rs raises; after that the table is opened anew.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self._uri = f"{settings.lake_uri}/{name}"
        self._storage_options = delta_options(settings) if is_remote(settings.lake_uri) else None
        self._table: DeltaTable | None = None
        self._opened_at = 0.0

    def refresh(self) -> tuple[str, int]:
        """Look for the newest version; the table's id (another one when the lake was built anew) and that version."""
        table, self._table = self._table, None
        if table is None or time.monotonic() - self._opened_at > REOPEN_SECONDS:
            table = DeltaTable(self._uri, storage_options=self._storage_options)
            self._opened_at = time.monotonic()
        else:
            table.update_incremental()
        self._table = table
        return str(table.metadata().id), table.version()

    def columns(self) -> list[str]:
        """Names of the columns of the version last looked for."""
        return [field.name for field in self._opened().schema().fields]

    def rows(self, sql: str) -> Iterator[dict[str, Any]]:
        """Rows of a query over the table `t`, in the version last looked for; times are aware datetimes."""
        engine = QueryBuilder(_OPTIONS).register("t", self._opened())
        found = engine.execute(sql)
        if self._storage_options is not None:  # delta-rs keeps the interpreter to itself while it waits for a store
            import pyarrow as pa

            found = pa.RecordBatchReader.from_stream(found)
        for batch in found:
            names = batch.schema.names
            columns = [batch.column(name).to_pylist() for name in names]
            yield from (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))

    def _opened(self) -> DeltaTable:
        if self._table is None:
            self.refresh()
        assert self._table is not None
        return self._table


def quoted(text: str) -> str:
    """A string as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"
