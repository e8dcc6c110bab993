"""From a Parquet file to its cells: whatever type holds a number, a text or a time, it reads like the same CSV."""

import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.sources.files.cells import Cells, UnreadableFileError, check_shape, check_size

_LARGEST_NAME = 10 * 2**20  # bytes; limits of the file's own directory, which is read before anything else
_MOST_ENTRIES = 1_000_000


def read_parquet(content: bytes, filename: str) -> Cells:
    """Cells of a Parquet file. Nested and binary columns, which no bar has, are left out.

    Raises
    ------
    UnreadableFileError : not Parquet, half-written, corrupt, too large, or no rows.
    """
    try:
        file = pq.ParquetFile(
            io.BytesIO(content),
            thrift_string_size_limit=_LARGEST_NAME,
            thrift_container_size_limit=_MOST_ENTRIES,
            page_checksum_verification=True,
        )
        schema = file.schema_arrow
        check_shape(file.metadata.num_rows, len(schema), filename)
        groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
        check_size(sum(group.total_byte_size for group in groups), filename)
        flat = [entry.name for entry in schema if _is_flat(entry.type)]
        # Texts stay dictionaries until their full length is known: a small file can repeat a long text for ever.
        texts = [entry.name for entry in schema if pa.types.is_string(entry.type)]
        table = pq.read_table(io.BytesIO(content), columns=flat, read_dictionary=texts, use_threads=False)
        if len(set(table.column_names)) < table.num_columns:
            raise UnreadableFileError(f"{filename}: not a readable parquet file (a column name is there twice)")
        check_size(sum(_text_bytes(column) for column in table.columns), filename)
        cells = pa.table({name: _text(table[name].combine_chunks()) for name in table.column_names})
    except UnreadableFileError:
        raise
    except (pa.ArrowException, ValueError, OSError, MemoryError, OverflowError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableFileError(f"{filename}: not a readable parquet file ({message})") from error
    if not cells.num_rows:
        raise UnreadableFileError(f"{filename}: no rows")
    return Cells(cells)


def _is_flat(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not pa.types.is_nested(kind) and not binary


def _text_bytes(column: pa.ChunkedArray) -> int:
    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type) and pa.types.is_string(chunk.type.value_type):
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices.cast(pa.int64()))
            total += pc.sum(lengths).as_py() or 0
    return total


def _text(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_floating(kind):  # Python writes the shortest text that reads back as the same number
        values = pc.if_else(pc.is_nan(values), None, values)
        written = [None if value is None else repr(value) for value in values.to_pylist()]
        text = pa.array(written, pa.string())
    elif pa.types.is_timestamp(kind):
        text = _stamps(values)
    else:
        text = values.cast(pa.string())
    return pc.utf8_trim_whitespace(pc.fill_null(text, ""))


def _stamps(values: pa.Array) -> pa.Array:
    """ISO text with the offset at that time of the column's zone, if it has one."""
    kind = values.type
    if kind.tz is None:
        return pc.strftime(values, format="%Y-%m-%d %H:%M:%S")
    return pc.strftime(values, format="%Y-%m-%d %H:%M:%S%z")
