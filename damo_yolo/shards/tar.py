"""One shard: a standard webdataset tar of images and annotations, and what lies where in it."""

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DamoYoloError
from damo_yolo.samples import ImageRecord
from damo_yolo.shards.images import plain_jpeg
from damo_yolo.shards.manifest import LeftOut, ShardFile
from damo_yolo.shards.receipts import Receipt, table_of


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to write."""

    index: int
    folder_uri: str
    rows: NDArray[np.int64]
    """Rows of the records, in the order in which they are written."""
    buckets: NDArray[np.int16]
    """Of each row."""

    @property
    def name(self) -> str:
        """File name of the tar."""
        return tar_name(self.index)

    @property
    def uri(self) -> str:
        """Location of the tar."""
        return storage.join(self.folder_uri, self.name)


def tar_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{index:06d}.tar"


def sample_json(record: ImageRecord) -> bytes:
    """Return the annotations of an image as a shard holds them."""
    known = record.known_ids
    values = {
        "key": record.key,
        "dataset": record.dataset,
        "width": record.width,
        "height": record.height,
        # The shortest digits that give the same float32 again.
        "boxes": [[float(str(corner)) for corner in box] for box in record.boxes],
        "class_ids": record.class_ids.tolist(),
        "is_crowd": record.is_crowd.tolist(),
        "known_ids": None if known is None else known.tolist(),
        "unknown_ids": record.unknown_ids.tolist(),
    }
    return json.dumps(values, separators=(",", ":")).encode()


def write_tar(task: ShardTask, rows: Sequence[ImageRecord], fingerprint: str) -> Receipt:
    """Write the tar of `rows`, the records of `task.rows`, and return what it holds.

    Unreadable images are left out and listed in the receipt.
    """
    columns: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    num_converted = num_boxes = 0
    with _draft(task.uri) as path:
        with path.open("wb") as file, webdataset.TarWriter(file, encoder=False, mtime=0) as tar:
            for record, bucket in zip(rows, task.buckets.tolist(), strict=True):
                try:
                    source = storage.read_bytes(record.image_uri)
                    image = plain_jpeg(source, width=record.width, height=record.height)
                except DamoYoloError as error:
                    reason = f"{record.image_uri}: {error.problem}"
                    left_out.append(LeftOut(key=record.key, reason=reason))
                    continue
                text = sample_json(record)
                name = f"{task.index:06d}{len(columns):06d}"
                tar.write({"__key__": name, "jpg": image.data, "json": text})
                digest = hashlib.sha256(image.data + text).digest()
                columns.append(_columns(record, task.index, bucket, digest))
                num_converted += not image.verbatim
                num_boxes += len(record.boxes)
        _add_payloads(columns, path)
        shard = ShardFile(
            name=task.name,
            sha256=storage.sha256(str(path)),
            num_bytes=path.stat().st_size,
            num_images=len(columns),
        )
    return Receipt(
        index=task.index,
        fingerprint=fingerprint,
        shard=shard,
        table=table_of(columns),
        num_boxes=num_boxes,
        num_converted=num_converted,
        left_out=tuple(left_out),
    )


def _columns(record: ImageRecord, index: int, bucket: int, sha256: bytes) -> dict[str, Any]:
    return {
        "key": record.key,
        "dataset": record.dataset,
        "shard": index,
        "width": record.width,
        "height": record.height,
        "sha256": sha256,
        "bucket": bucket,
    }


def _add_payloads(columns: list[dict[str, Any]], path: Path) -> None:
    """Add where the payloads lie, as the tar itself says."""
    with tarfile.open(path, "r:") as tar:
        for row in columns:
            for kind in ("image", "json"):  # jpg goes before json
                member = tar.next()
                assert member is not None
                row[f"{kind}_offset"], row[f"{kind}_size"] = member.offset_data, member.size


@contextmanager
def _draft(uri: str) -> Iterator[Path]:
    """Yield a local path whose file appears at the location when the block ends without error."""
    if not storage.is_remote(uri):
        with storage.atomic_path(Path(uri)) as path:
            yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.tar"
        yield path
        storage.publish(path, uri)
