"""Detections on disk: Parquet for our own later use, COCO results for other tools."""

import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from damo_yolo import storage
from damo_yolo.boxes import xyxy_to_xywh
from damo_yolo.errors import DataError
from damo_yolo.samples import Detections

DETECTIONS_TABLE = "detections.parquet"
DETECTIONS_FILE = "detections.json"
IMAGES_AT_ONCE = 4096
"""Rows of a group of the Parquet file."""

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("boxes", pa.list_(pa.float32()), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("labels", pa.list_(pa.int32()), nullable=False),
    ]
)
"""One row per image; boxes are xyxy pixels, four numbers each."""


def write_detections(detections: Sequence[Detections], uri: str) -> None:
    """Write a Parquet file, one row per image, to the last bit."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for start in range(0, len(detections), IMAGES_AT_ONCE):
            writer.write_table(_table(detections[start : start + IMAGES_AT_ONCE]))
    storage.write_bytes(uri, sink.getvalue().to_pybytes())


def read_detections(uri: str) -> Iterator[Detections]:
    """Yield what `write_detections` wrote, in its order; some thousand images are in memory.

    Raises:
        DataError: it is no such file.
        StorageError: nothing is at the location.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = storage.fetch(uri, Path(folder))
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, FileNotFoundError):
            raise _no_detections(uri) from None
        with file:
            if not set(SCHEMA.names) <= set(file.schema_arrow.names):
                raise _no_detections(uri)
            for batch in file.iter_batches(IMAGES_AT_ONCE, columns=SCHEMA.names):
                yield from _rows(batch)


def _table(detections: Sequence[Detections]) -> pa.Table:
    columns = {
        "key": [item.key for item in detections],
        "boxes": [item.boxes.reshape(-1) for item in detections],
        "scores": [item.scores for item in detections],
        "labels": [item.labels.astype(np.int32) for item in detections],
    }
    return pa.table(columns, schema=SCHEMA)


def _rows(batch: pa.RecordBatch) -> Iterator[Detections]:
    keys = batch["key"].to_pylist()
    ends = np.cumsum(batch["scores"].value_lengths().to_numpy())[:-1]
    boxes, scores, labels = (
        batch[name].flatten().to_numpy(zero_copy_only=False) for name in SCHEMA.names[1:]
    )
    parts = np.split(boxes.reshape(-1, 4), ends), np.split(scores, ends), np.split(labels, ends)
    for key, own, certain, named in zip(keys, *parts, strict=True):
        yield Detections(key=key, boxes=own, scores=certain, labels=named.astype(np.int64))


def _no_detections(uri: str) -> DataError:
    return DataError(f"{uri} is no file of detections", fix="run: damo-yolo evaluate")


def write_coco_results(
    detections: Iterable[Detections],
    uri: str,
    *,
    class_ids: Mapping[int, int | str] | None = None,
) -> None:
    """Write COCO results; boxes are xywh pixels.

    Args:
        detections: in the order of the file.
        uri: location of the JSON.
        class_ids: the label space's id to a dataset's own; other classes are left out, and
            `image_id` is the dataset's own. None: ids of the label space and keys of the images.
    """
    text = io.StringIO()
    text.write("[")
    separator = ""
    for item in detections:
        for entry in _entries(item, class_ids):
            text.write(separator + json.dumps(entry, separators=(",", ":")))
            separator = ",\n"
    text.write("]")
    storage.write_text(uri, text.getvalue())


def _entries(
    item: Detections, class_ids: Mapping[int, int | str] | None
) -> Iterable[dict[str, Any]]:
    image_id: int | str = item.key
    if class_ids is not None:
        own = item.key.partition("/")[2]
        image_id = int(own) if own.isdecimal() else own
    for box, score, label in zip(
        xyxy_to_xywh(item.boxes).tolist(), item.scores.tolist(), item.labels.tolist(), strict=True
    ):
        if class_ids is None or label in class_ids:
            yield {
                "image_id": image_id,
                "category_id": label if class_ids is None else class_ids[label],
                "bbox": [round(value, 3) for value in box],
                "score": round(score, 6),
            }
