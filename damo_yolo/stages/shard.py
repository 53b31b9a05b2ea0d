"""Shard merged records: each image once, in standard tars, ready to stream."""

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import Split
from damo_yolo.datasets.records import read_batches
from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.shards.density import read_density
from damo_yolo.shards.manifest import Manifest, ManifestSummary
from damo_yolo.shards.order import EpochOrder
from damo_yolo.shards.write import ShardConfig, write_shards

COPIED = ("label_space.csv", "datasets.json")
"""What training and evaluation need to know of the records."""


class SplitShards(Config):
    """One folder of shards."""

    num_images: int
    num_boxes: int
    num_shards: int
    num_bytes: int
    num_converted: int
    num_left_out: int
    sha256: str


class ShardResult(Config):
    """Content of `result.json` beside the shards."""

    num_images: int
    num_shards: int
    num_bytes: int
    train: SplitShards
    val: SplitShards
    bytes_read_per_byte_used: float
    """Of the first epoch with this plan; 1: every byte that is read is used."""
    label_space_sha256: str


def shard(
    records_uri: str,
    plan_uri: str,
    shards_uri: str,
    *,
    config: ShardConfig | None = None,
    global_batch: int = 64,
    seed: int = 0,
) -> ShardResult:
    """Write `train/` and `val/` shards of merged records, and what reading them needs besides.

    Running again keeps finished shards, so an interrupted run goes on where it stopped.

    Args:
        records_uri: folder that merge wrote.
        plan_uri: folder that balance wrote: images of similar expected draws share shards.
        shards_uri: folder for the shards.
        config: size of the shards, how many at a time, how many unreadable images to bear.
        global_batch: for the report of how densely an epoch reads.
        seed: likewise.

    Raises:
        DataError: the plan is not of these records, or more images than allowed are unreadable.
        StorageError: a location cannot be read or written.
    """
    config = config or ShardConfig()
    space = LabelSpace.load(storage.join(records_uri, "label_space.csv"))
    plan = SamplePlan.read(plan_uri)
    train_uri = storage.join(records_uri, "train.parquet")
    _check_same_images(plan, train_uri, plan_uri)
    summaries = {}
    splits: tuple[tuple[Split, NDArray[np.float64] | None], ...]
    splits = (("train", plan.expected_draws), ("val", None))
    for split, expected in splits:
        summaries[split] = write_shards(
            storage.join(records_uri, f"{split}.parquet"),
            storage.join(shards_uri, split),
            split=split,
            expected_draws=expected,
            label_space_sha256=space.sha256,
            config=config,
        )
    for name in COPIED:
        data = storage.read_bytes(storage.join(records_uri, name))
        storage.write_bytes(storage.join(shards_uri, name), data)
    manifest = Manifest.load(storage.join(shards_uri, "train"))
    order = EpochOrder(manifest, plan, seed, 0, global_batch)
    train, val = (_split_shards(summaries[split]) for split in ("train", "val"))
    result = ShardResult(
        num_images=train.num_images + val.num_images,
        num_shards=train.num_shards + val.num_shards,
        num_bytes=train.num_bytes + val.num_bytes,
        train=train,
        val=val,
        bytes_read_per_byte_used=read_density(manifest, order.lanes),
        label_space_sha256=space.sha256,
    )
    storage.write_text(
        storage.join(shards_uri, "result.json"), result.model_dump_json(indent=2) + "\n"
    )
    return result


def _check_same_images(plan: SamplePlan, train_uri: str, plan_uri: str) -> None:
    """Refuse a plan that was made of other records; rows of both go together."""
    first = 0
    for batch in read_batches(train_uri, ["key"]):
        planned = plan.keys[first : first + batch.num_rows]
        if len(planned) < batch.num_rows or not pc.all(pc.equal(planned, batch["key"])).as_py():
            break
        first += batch.num_rows
    else:
        if first == len(plan):
            return
    raise DataError(
        f"the plan {plan_uri} was not made of the records {train_uri}",
        fix="run the balance stage again with these records",
    )


def _split_shards(summary: ManifestSummary) -> SplitShards:
    return SplitShards(
        num_images=summary.num_images,
        num_boxes=summary.num_boxes,
        num_shards=len(summary.shards),
        num_bytes=summary.num_bytes,
        num_converted=summary.num_converted,
        num_left_out=len(summary.left_out),
        sha256=summary.sha256,
    )
