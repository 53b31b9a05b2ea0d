"""Write records as webdataset shards: each image once, in parallel, resumable, reproducible.

A shard is one task and a pure function of its records: it appears under its name only when it is
whole, and a receipt beside the shards says of which records and image files it was made. A
second run keeps every shard whose receipt still holds, whether the first one ended or not.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import Split
from damo_yolo.errors import DataError
from damo_yolo.samples import ImageRecord
from damo_yolo.shards.images import JPEG_QUALITY
from damo_yolo.shards.manifest import ManifestSummary
from damo_yolo.shards.receipts import (
    Receipt,
    publish_manifest,
    read_receipt,
    receipt_name,
    write_receipt,
)
from damo_yolo.shards.records import RecordFile
from damo_yolo.shards.tar import ShardTask, sample_json, tar_name, write_tar

_log = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Part of every receipt: shards of another version are written again."""
EMPTY_BUCKET = -64
"""Of images that are never drawn."""


class ShardConfig(Config):
    """How records are cut into shards."""

    images_per_shard: int = Field(default=1024, ge=1)
    """More make fewer, larger tars; a tenth to a half gigabyte each reads well."""
    num_workers: int | None = Field(default=None, ge=1)
    """Shards written at the same time; None: one per processor."""
    max_left_out: int = Field(default=0, ge=0)
    """Unreadable images that are left out, and listed, before the stage gives up."""


def write_shards(
    records_uri: str,
    folder_uri: str,
    *,
    split: Split,
    expected_draws: NDArray[np.float64] | None,
    label_space_sha256: str,
    config: ShardConfig,
) -> ManifestSummary:
    """Write the shards of one file of records, their manifest and its summary.

    Args:
        records_uri: Parquet file of records.
        folder_uri: where the tars go.
        split: for the summary.
        expected_draws: (N,) per record: images of similar numbers share shards, in an order that
            mixes their neighbours; None: shards in the order of the records.
        label_space_sha256: of the space that the class ids belong to.
        config: size of the shards, how many at a time, how many unreadable images to bear.

    Raises:
        DataError: more images than allowed are unreadable, or a record's size is not its image's.
        StorageError: a location cannot be read or written.
    """
    with RecordFile.open(records_uri) as records:
        tasks = plan_tasks(len(records), folder_uri, expected_draws, config=config)
        receipts: list[Receipt] = []
        workers = min(config.num_workers or os.cpu_count() or 1, max(len(tasks), 1))
        with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
            try:
                for receipt in pool.map(lambda task: ensure_shard(task, records), tasks):
                    receipts.append(receipt)
                    _check_left_out(receipts, config.max_left_out)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    summary = publish_manifest(
        receipts, folder_uri, split=split, label_space_sha256=label_space_sha256
    )
    _remove_others(folder_uri, len(tasks))
    return summary


def plan_tasks(
    num_records: int,
    folder_uri: str,
    expected_draws: NDArray[np.float64] | None,
    *,
    config: ShardConfig,
) -> list[ShardTask]:
    """Cut the records into shards: a pure function of its arguments."""
    buckets = np.zeros(num_records, np.int16)
    order = np.arange(num_records)
    if expected_draws is not None:
        buckets = draw_buckets(expected_draws)
        mixed = np.random.Generator(np.random.Philox(num_records)).permutation(num_records)
        order = np.lexsort((mixed, buckets))
    cuts = range(0, num_records, config.images_per_shard)
    parts = [order[first : first + config.images_per_shard] for first in cuts]
    return [ShardTask(i, folder_uri, part, buckets[part]) for i, part in enumerate(parts)]


def draw_buckets(expected_draws: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return (N,) half-octaves of (N,) expected draws: 0 for about 1, 2 for 2, -2 for 1/2."""
    drawn = expected_draws > 0
    exponents = np.log2(expected_draws, out=np.zeros(len(drawn)), where=drawn)
    buckets = np.rint(2 * exponents).clip(EMPTY_BUCKET + 1, -EMPTY_BUCKET)
    return np.where(drawn, buckets, EMPTY_BUCKET).astype(np.int16)


def ensure_shard(task: ShardTask, records: RecordFile) -> Receipt:
    """Return the receipt of a shard, writing it unless it is already there."""
    rows = records.take(task.rows)
    fingerprint = _fingerprint(rows, task.buckets)
    receipt = read_receipt(task.folder_uri, task.index)
    if receipt is not None and receipt.fingerprint == fingerprint and _is_there(task, receipt):
        return receipt
    receipt = write_tar(task, rows, fingerprint)
    write_receipt(task.folder_uri, receipt)
    return receipt


def _is_there(task: ShardTask, receipt: Receipt) -> bool:
    if storage.is_remote(task.uri):
        return storage.exists(task.uri)
    path = Path(task.uri)
    return path.is_file() and path.stat().st_size == receipt.shard.num_bytes


def _fingerprint(rows: Sequence[ImageRecord], buckets: NDArray[np.int16]) -> str:
    """Return a checksum of all that a shard is made of, image files by name and size."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {JPEG_QUALITY}\n".encode())
    for record, bucket in zip(rows, buckets.tolist(), strict=True):
        digest.update(sample_json(record))
        digest.update(f" {record.image_uri} {_file_size(record.image_uri)} {bucket}\n".encode())
    return digest.hexdigest()


def _file_size(uri: str) -> int:
    """Return bytes of a local file, -1 where it is remote or missing."""
    if storage.is_remote(uri):
        return -1
    try:
        return Path(uri).stat().st_size
    except OSError:
        return -1


def _remove_others(folder_uri: str, num_shards: int) -> None:
    """Remove shards of an earlier run that had more of them, and drafts of one that was killed.

    Who opens `shard-*.tar` with webdataset would read them too.
    """
    if not storage.is_remote(folder_uri):
        for draft in Path(folder_uri).glob(".shard-*.tar.*"):
            draft.unlink()
    ours = {tar_name(i) for i in range(num_shards)} | {receipt_name(i) for i in range(num_shards)}
    for suffix in (".tar", ".parquet"):
        for uri in storage.list_uris(storage.join(folder_uri, ""), suffix=suffix):
            name = uri.removeprefix(folder_uri.rstrip("/")).lstrip("/")
            if name in ours or "shard-" not in name:
                continue
            if storage.is_remote(uri):
                _log.warning("%s is of an earlier run: remove it", uri)
            else:
                Path(uri).unlink()


def _check_left_out(receipts: Sequence[Receipt], allowed: int) -> None:
    left_out = [item for receipt in receipts for item in receipt.left_out]
    if len(left_out) > allowed:
        first = left_out[0]
        raise DataError(
            f"{len(left_out)} images cannot be read, {allowed} are allowed;"
            f" first: '{first.key}' at {first.reason}",
            fix="replace the files and run again (finished shards are kept), leave the images out"
            " of the catalog, or allow more with max_left_out",
        )
