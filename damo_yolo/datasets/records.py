"""Image records as Arrow tables: one row per image, Parquet on disk, written and read in streams.

Shapes: N objects of an image, K known classes.
"""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DataError
from damo_yolo.samples import ImageRecord

RECORD_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("image_uri", pa.string(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4)), nullable=False),
        pa.field("class_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("source_ids", pa.list_(pa.string()), nullable=False),
        pa.field("is_crowd", pa.list_(pa.bool_()), nullable=False),
        pa.field("known_ids", pa.list_(pa.int32()), nullable=True),
        pa.field("unknown_ids", pa.list_(pa.int32()), nullable=False),
    ]
)
"""The fields of `samples.ImageRecord`; `known_ids` is null where the dataset's own hold."""

REPETITIVE = [
    *("key", "dataset", "image_uri", "width", "height"),
    *(f"{name}.list.element" for name in ("class_ids", "source_ids", "known_ids", "unknown_ids")),
]
"""Columns that Parquet keeps as dictionaries; coordinates are written faster and smaller plain."""

ROWS_PER_GROUP = 4096
"""Images per Parquet row group: what a writer holds in memory, what a reader loads at once."""


def write_records(records: Iterable[ImageRecord], uri: str) -> int:
    """Write records as `write_tables` does, `ROWS_PER_GROUP` at a time."""
    rows = iter(records)
    groups = iter(lambda: list(islice(rows, ROWS_PER_GROUP)), [])
    return write_tables((table_of(group) for group in groups), uri)


def write_tables(tables: Iterable[pa.Table], uri: str) -> int:
    """Write tables of `RECORD_SCHEMA` to one Parquet file, atomically, a row group each.

    The same tables give the same bytes (the file holds no clock and no host name).

    Returns:
        The number of records.
    """
    if not storage.is_remote(uri):
        with storage.atomic_path(Path(uri)) as path:
            return _write_file(tables, path)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.parquet"
        count = _write_file(tables, path)
        storage.publish(path, uri)
    return count


def read_records(uri: str) -> Iterator[ImageRecord]:
    """Yield the records of a Parquet file in the order in which they were written.

    Raises:
        StorageError: nothing is at the location.
        DataError: it is not a file of records.
    """
    for batch in read_batches(uri):
        yield from records_of(batch)


def read_batches(uri: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield Arrow batches of at most `ROWS_PER_GROUP` rows; raises as `read_records` does.

    Args:
        uri: Parquet file of records.
        columns: which fields to read; None: all.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = storage.fetch(uri, Path(folder))
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, FileNotFoundError) as error:
            raise DataError(
                f"{uri} is not a file of records: {error}", fix="run the merge stage again"
            ) from None
        with file:
            missing = [name for name in RECORD_SCHEMA.names if name not in file.schema_arrow.names]
            if missing:
                raise DataError(
                    f"{uri} lacks the columns {', '.join(missing)}", fix="run the merge stage again"
                )
            yield from file.iter_batches(batch_size=ROWS_PER_GROUP, columns=columns)


def table_of(records: Iterable[ImageRecord]) -> pa.Table:
    """Return the records as one Arrow table of `RECORD_SCHEMA`."""
    rows = list(records)
    counts = np.array([len(row.class_ids) for row in rows], np.int64)
    columns = {
        "key": pa.array([row.key for row in rows], pa.string()),
        "dataset": pa.array([row.dataset for row in rows], pa.string()),
        "image_uri": pa.array([row.image_uri for row in rows], pa.string()),
        "width": pa.array([row.width for row in rows], pa.int32()),
        "height": pa.array([row.height for row in rows], pa.int32()),
        "boxes": boxes_column(_concatenate([row.boxes for row in rows], np.float32), counts),
        "class_ids": _lists([row.class_ids for row in rows], np.int32),
        "source_ids": pa.array([row.source_ids for row in rows], pa.list_(pa.string())),
        "is_crowd": _lists([row.is_crowd for row in rows], np.bool_),
        "known_ids": pa.array([row.known_ids for row in rows], pa.list_(pa.int32())),
        "unknown_ids": _lists([row.unknown_ids for row in rows], np.int32),
    }
    return pa.table(columns, schema=RECORD_SCHEMA)


def records_of(batch: pa.RecordBatch | pa.Table) -> Iterator[ImageRecord]:
    """Yield the rows of an Arrow batch of `RECORD_SCHEMA` as records."""
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    plain = {name: table[name].to_pylist() for name in ("key", "dataset", "image_uri")}
    widths, heights = (table[name].to_numpy() for name in ("width", "height"))
    boxes = _rows(table["boxes"], np.float32)
    class_ids = _rows(table["class_ids"], np.int32)
    source_ids = table["source_ids"].to_pylist()
    is_crowd = _rows(table["is_crowd"], np.bool_)
    known_ids = table["known_ids"].to_pylist()
    unknown_ids = _rows(table["unknown_ids"], np.int32)
    for row in range(table.num_rows):
        known = known_ids[row]
        yield ImageRecord(
            key=plain["key"][row],
            dataset=plain["dataset"][row],
            image_uri=plain["image_uri"][row],
            width=int(widths[row]),
            height=int(heights[row]),
            boxes=boxes[row].reshape(-1, 4),
            class_ids=class_ids[row],
            source_ids=tuple(source_ids[row]),
            is_crowd=is_crowd[row],
            known_ids=None if known is None else np.array(known, np.int32),
            unknown_ids=unknown_ids[row],
        )


def boxes_column(boxes: NDArray[np.float32], counts: NDArray[np.int64]) -> pa.ListArray:
    """Return (N, 4) boxes as lists of one row's boxes each, from the (I,) numbers of them."""
    corners = pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)
    return list_column(corners, counts)


def list_column(values: pa.Array, counts: NDArray[np.int64]) -> pa.ListArray:
    """Cut (N,) values into lists of the (I,) lengths."""
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _write_file(tables: Iterable[pa.Table], path: Path) -> int:
    count = 0
    with pq.ParquetWriter(
        path, RECORD_SCHEMA, compression="zstd", use_dictionary=REPETITIVE
    ) as writer:
        for table in tables:
            if len(table):
                writer.write_table(table, row_group_size=len(table))
            count += len(table)
    return count


def _concatenate(arrays: list[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    flat = [array.reshape(-1) for array in arrays]
    return np.concatenate([np.zeros(0, dtype), *flat]).astype(dtype, copy=False)


def _lists(arrays: list[NDArray[Any]], dtype: type[Any]) -> pa.ListArray:
    values = pa.array(_concatenate(arrays, dtype))
    return list_column(values, np.array([len(array) for array in arrays], np.int64))


def _rows(column: pa.ChunkedArray, dtype: type[Any]) -> list[NDArray[Any]]:
    """Return one array per row; boxes come flat, four numbers each."""
    lists = column.combine_chunks()
    if isinstance(lists, pa.ChunkedArray):  # no rows: Arrow keeps the empty list of chunks
        return []
    values = lists.flatten()
    per_item = 1
    if pa.types.is_fixed_size_list(values.type):
        values, per_item = values.flatten(), 4
    flat = values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    ends = np.cumsum(lists.value_lengths().to_numpy()) * per_item
    return np.split(flat, ends[:-1])
