"""Records as Arrow tables: what is written is what is read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from damo_yolo import storage
from damo_yolo.datasets import records
from damo_yolo.datasets.records import RECORD_SCHEMA, read_batches, read_records, write_records
from damo_yolo.errors import DataError, StorageError
from damo_yolo.samples import ImageRecord


def make_record(place: int, num_objects: int, known: list[int] | None = None) -> ImageRecord:
    corners = np.arange(4 * num_objects, dtype=np.float32).reshape(-1, 4)
    return ImageRecord(
        key=f"d/{place}",
        dataset="d",
        image_uri=f"/images/{place}.jpg",
        width=640 + place,
        height=480,
        boxes=corners,
        class_ids=np.arange(num_objects, dtype=np.int32),
        source_ids=tuple(f"/m/{n}" for n in range(num_objects)),
        is_crowd=np.arange(num_objects) % 2 == 1,
        known_ids=None if known is None else np.array(known, np.int32),
        unknown_ids=np.array([place], np.int32),
    )


def assert_equal(one: ImageRecord, other: ImageRecord) -> None:
    for name in ImageRecord.__dataclass_fields__:
        mine, yours = getattr(one, name), getattr(other, name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == yours.dtype, name
            assert mine.shape == yours.shape, name
            assert (mine == yours).all(), name
        else:
            assert mine == yours, name


def test_records_written_and_read_again_are_equal(tmp_path: Path) -> None:
    written = [make_record(0, 3), make_record(1, 0, known=[]), make_record(2, 1, known=[4, 9])]
    uri = str(tmp_path / "a.parquet")

    assert write_records(written, uri) == 3

    for one, other in zip(written, read_records(uri), strict=True):
        assert_equal(one, other)


def test_groups_of_rows_do_not_change_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ROWS_PER_GROUP", 2)
    uri = str(tmp_path / "a.parquet")
    write_records((make_record(place, place % 3) for place in range(5)), uri)

    assert pq.ParquetFile(uri).metadata.num_row_groups == 3
    assert [record.key for record in read_records(uri)] == [f"d/{place}" for place in range(5)]
    assert [len(record.boxes) for record in read_records(uri)] == [0, 1, 2, 0, 1]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_records([make_record(0, 2)], str(tmp_path / name))

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_records_make_a_file_without_rows(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")

    assert write_records([], uri) == 0
    assert list(read_records(uri)) == []
    assert pq.read_schema(uri).equals(RECORD_SCHEMA)


def test_columns_can_be_read_alone(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    write_records([make_record(0, 2)], uri)
    (batch,) = read_batches(uri, ["key", "class_ids"])

    assert batch.to_pydict() == {"key": ["d/0"], "class_ids": [[0, 1]]}


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken() -> list[ImageRecord]:
        raise DataError("no", fix="yes")

    with pytest.raises(DataError):
        write_records((record for record in broken()), str(tmp_path / "a.parquet"))

    assert list(tmp_path.iterdir()) == []


def test_other_files_are_told_from_records(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "other")

    with pytest.raises(DataError, match="is not a file of records"):
        list(read_records(str(tmp_path / "text")))
    with pytest.raises(DataError, match="lacks the columns dataset"):
        list(read_records(str(tmp_path / "other")))
    with pytest.raises((DataError, StorageError)):
        list(read_records(storage.join(str(tmp_path), "nothing")))
