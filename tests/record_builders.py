"""Small records, images, plans and manifests for tests of the data wing: no downloads."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.samples import ImageRecord
from damo_yolo.shards.manifest import MANIFEST_SCHEMA, Manifest, ManifestSummary, ShardFile


def make_record(
    key: str = "toy/0",
    *,
    image_uri: str = "",
    size: tuple[int, int] = (64, 48),
    class_ids: Sequence[int] = (),
    crowd: Sequence[int] = (),
) -> ImageRecord:
    """Return a record with one small box per class id; `crowd` are places of crowd regions."""
    count = len(class_ids)
    left_top = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return ImageRecord(
        key=key,
        dataset=key.split("/", maxsplit=1)[0],
        image_uri=image_uri,
        width=size[0],
        height=size[1],
        boxes=np.concatenate((left_top, left_top + np.float32(5.25)), axis=1),
        class_ids=np.array(class_ids, np.int32),
        source_ids=tuple(str(class_id) for class_id in class_ids),
        is_crowd=np.isin(np.arange(count), crowd),
    )


def make_image(path: Path, *, seed: int, size: tuple[int, int] = (64, 48)) -> str:
    """Write a smooth random picture, JPEG or PNG by the suffix, and return its location."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR))
    return str(path)


def make_records(folder: Path, count: int, *, dataset: str = "toy") -> list[ImageRecord]:
    """Return records of `count` new JPEG files; image i holds i % 4 objects."""
    return [
        make_record(
            f"{dataset}/{i}",
            image_uri=make_image(folder / f"{dataset}-{i}.jpg", seed=i),
            class_ids=[(i + j) % 5 for j in range(i % 4)],
        )
        for i in range(count)
    ]


def make_plan(
    expected: NDArray[np.float64] | Sequence[float], *, dataset: str = "toy"
) -> SamplePlan:
    """Return a plan for images toy/0, toy/1, ..."""
    values = np.asarray(expected, np.float64)
    keys = pa.array([f"{dataset}/{i}" for i in range(len(values))], pa.string())
    return SamplePlan(keys, pa.array([dataset] * len(values), pa.string()), values)


def make_manifest(
    num_images: int, *, images_per_shard: int = 50, image_bytes: int = 100_000
) -> Manifest:
    """Return a manifest of images toy/0, toy/1, ... without files, all of one size."""
    row = np.arange(num_images)
    shard, place = np.divmod(row, images_per_shard)
    stride = image_bytes + 2048
    columns = {
        "key": [f"toy/{i}" for i in range(num_images)],
        "dataset": ["toy"] * num_images,
        "shard": shard,
        "image_offset": place * stride + 512,
        "image_size": np.full(num_images, image_bytes),
        "json_offset": place * stride + image_bytes + 1024,
        "json_size": np.full(num_images, 512),
        "width": np.full(num_images, 64),
        "height": np.full(num_images, 48),
        "sha256": [bytes(32)] * num_images,
        "bucket": np.zeros(num_images),
    }
    table = pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in MANIFEST_SCHEMA})
    shards = tuple(
        ShardFile(name=f"shard-{i:06d}.tar", sha256="", num_bytes=0, num_images=images_per_shard)
        for i in range(-(-num_images // images_per_shard))
    )
    summary = ManifestSummary(
        split="train",
        num_images=num_images,
        num_boxes=0,
        num_bytes=0,
        num_converted=0,
        datasets={"toy": num_images},
        shards=shards,
        label_space_sha256="",
        table_sha256="",
        sha256="",
    )
    return Manifest("/nowhere", summary, table)
