"""Random access to a file of records that may not fit in memory.

Parquet is read in streams; shards need rows from all over the file. So the records are laid out
once as an uncompressed Arrow file, which the system maps into memory as rows are asked for.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from damo_yolo.datasets.records import RECORD_SCHEMA, read_batches, records_of
from damo_yolo.samples import ImageRecord

BATCHES_JOINED = 16
"""Larger batches make fewer of them to visit for rows from all over the file."""


class RecordFile:
    """Records by row."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._batches = batches
        self._ends = np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @classmethod
    @contextmanager
    def open(cls, records_uri: str) -> Iterator["RecordFile"]:
        """Lay out a Parquet file of records in a temporary folder for the length of a block."""
        with tempfile.TemporaryDirectory(prefix="records-") as folder:
            path = str(Path(folder) / "records.arrow")
            _lay_out(records_uri, path)
            with pa.memory_map(path) as source:
                reader = pa.ipc.open_file(source)
                yield cls([reader.get_batch(i) for i in range(reader.num_record_batches)])

    def take(self, rows: NDArray[np.int64]) -> list[ImageRecord]:
        """Return the records of these rows, in their order."""
        order = np.argsort(rows, kind="stable")
        parts = []
        for batch, begin, end in self._spans(rows[order]):
            first = int(self._ends[batch]) - self._batches[batch].num_rows
            parts.append(self._batches[batch].take(pa.array(rows[order[begin:end]] - first)))
        taken = list(records_of(pa.Table.from_batches(parts, RECORD_SCHEMA)))
        records = dict(zip(order.tolist(), taken, strict=True))
        return [records[place] for place in range(len(rows))]

    def _spans(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Yield batch, and begin and end of the ascending rows that lie in it."""
        bounds = np.searchsorted(rows, self._ends)
        begin = 0
        for batch, end in enumerate(bounds.tolist()):
            if end > begin:
                yield batch, begin, end
            begin = end


def _lay_out(records_uri: str, path: str) -> None:
    with pa.ipc.new_file(path, RECORD_SCHEMA) as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in read_batches(records_uri):
            waiting.append(batch)
            if len(waiting) == BATCHES_JOINED:
                writer.write_batch(_joined(waiting))
                waiting = []
        if waiting:
            writer.write_batch(_joined(waiting))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches).cast(RECORD_SCHEMA)
