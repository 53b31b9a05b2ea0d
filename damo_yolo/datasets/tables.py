"""Annotations as tables of a database on disk, joined and sorted out of core (duckdb).

The database lives in a folder for temporary files (TMPDIR) as long as its block; what does not fit
into the memory setting is spilled there.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from damo_yolo.datasets.source import IMAGES_PER_CHUNK, column

ROWS_PER_BATCH = 1 << 17
QUIET = "SET enable_progress_bar = false"
MIN_MEMORY_MB = 256
"""Below this duckdb fails to sort and join tables of a few million rows."""


@contextmanager
def open_tables(memory_mb: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a fresh database that keeps within a memory limit, and remove it afterwards.

    Args:
        memory_mb: what its tables, joins and sorts may hold at once, MB.
    """
    with tempfile.TemporaryDirectory(prefix="damo-yolo-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{max(memory_mb, MIN_MEMORY_MB)}MB",
            "temp_directory": str(Path(folder) / "spilled"),
            "autoinstall_known_extensions": "false",
        }
        with duckdb.connect(Path(folder) / "tables.duckdb", config=config) as tables:
            tables.execute(QUIET)
            yield tables


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def fill(tables: duckdb.DuckDBPyConnection, insert: str, batch: pa.Table) -> None:
    """Run an INSERT that selects from `batch`, an Arrow table."""
    tables.register("batch", batch)
    try:
        tables.execute(insert)
    finally:
        tables.unregister("batch")


def place_images(tables: duckdb.DuckDBPyConnection, selected: str) -> None:
    """Make the table `placed`: images in the order in which they are handed over.

    Args:
        tables: the database.
        selected: SELECT of ref (key of the objects), image_id, image_uri, width and height.
    """
    tables.execute(
        "CREATE TABLE placed AS SELECT row_number() OVER (ORDER BY image_id, image_uri) - 1"
        f" AS place, * FROM ({selected}) ORDER BY place"
    )


def images_of(tables: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, pa.Table]]:
    """Yield the images of `placed` in order, with the place of the first, a chunk at a time."""
    rows = _stream(tables, "SELECT image_id, image_uri, width, height FROM placed ORDER BY place")
    first = 0
    for table in _regrouped(rows, IMAGES_PER_CHUNK):
        yield first, table
        first += len(table)


class PlacedRows:
    """Rows of a query that come ordered by the place of their image."""

    def __init__(self, tables: duckdb.DuckDBPyConnection, query: str) -> None:
        """Start the query.

        Args:
            tables: the database.
            query: SELECT of `place` and more, ordered by it.
        """
        self._reader = _stream(tables, query)
        self._rest = self._reader.schema.empty_table()
        self._exhausted = False

    def before(self, place: int) -> pa.Table:
        """Return the rows not yet returned whose image lies before `place`."""
        while not self._exhausted and not (len(self._rest) and self._last() >= place):
            try:
                batch = pa.Table.from_batches([self._reader.read_next_batch()])
                self._rest = pa.concat_tables([self._rest, batch])
            except StopIteration:
                self._exhausted = True
        count = int(np.searchsorted(column(self._rest["place"], np.int64), place))
        found, self._rest = self._rest.slice(0, count), self._rest.slice(count)
        return found

    def _last(self) -> int:
        place: int = self._rest["place"][-1].as_py()
        return place


def _stream(tables: duckdb.DuckDBPyConnection, query: str) -> pa.RecordBatchReader:
    """Return the rows of a query, which may be read beside others."""
    cursor = tables.cursor()
    cursor.execute(QUIET)
    return cursor.sql(query).to_arrow_reader(ROWS_PER_BATCH)


def _regrouped(reader: pa.RecordBatchReader, size: int) -> Iterator[pa.Table]:
    """Yield the rows of a reader in tables of exactly `size` rows; the last may have fewer."""
    rest = reader.schema.empty_table()
    for batch in reader:
        rest = pa.concat_tables([rest, pa.Table.from_batches([batch])])
        while len(rest) >= size:
            yield rest.slice(0, size)
            rest = rest.slice(size)
    if len(rest):
        yield rest
