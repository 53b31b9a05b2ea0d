"""Balance and sample order for 3.6 million images with 39 million boxes: time and memory.

    python benchmarks/order.py [--images 3600000]

Records of three datasets in the sizes of COCO, Objects365 and OpenImages are made up, with classes
drawn by Zipf's law; boxes are all zero, as nothing here looks at them.
"""

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from damo_yolo.datasets.records import RECORD_SCHEMA, ROWS_PER_GROUP
from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.shards.manifest import MANIFEST_SCHEMA, Manifest, ManifestSummary, ShardFile
from damo_yolo.shards.order import EpochOrder
from damo_yolo.stages.balance import balance

SHARES = {"coco": 0.033, "objects365": 0.483, "openimages": 0.484}
BOXES_PER_IMAGE = 10.8
NUM_CLASSES = 701
GLOBAL_BATCH = 256
IMAGES_PER_SHARD = 1024
EPOCHS = 5
RESULTS = Path(__file__).parent / "results" / "order.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=3_600_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        num_boxes = write_made_up_records(Path(folder), options.images)
        _, balancing = timed(
            lambda: balance(folder, folder, config=BalanceConfig(), global_batch=GLOBAL_BATCH)
        )
        plan, reading = timed(lambda: SamplePlan.read(folder))
    manifest = make_manifest(plan)
    _, joining = timed(lambda: manifest.rows_of_plan(plan))
    epochs = [
        timed(lambda: EpochOrder(manifest, plan, 0, epoch, GLOBAL_BATCH))[1]  # noqa: B023 - runs now
        for epoch in range(EPOCHS)
    ]
    report = {
        "command": "python benchmarks/order.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one core",
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "images": len(plan),
        "boxes": num_boxes,
        "balance_cpu_s": balancing,
        "read_plan_cpu_s": reading,
        "join_plan_and_shards_cpu_s": joining,
        "first_epoch_cpu_s": epochs[0],
        "later_epoch_cpu_s": max(epochs[1:]),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result and the CPU seconds."""
    start = time.process_time()
    result = run()
    return result, round(time.process_time() - start, 3)


def write_made_up_records(folder: Path, num_images: int) -> int:
    """Write `train.parquet` and `datasets.json`; return the number of boxes."""
    sampling = {
        "coco": "none",
        "objects365": "inverse_frequency",
        "openimages": "inverse_frequency",
    }
    facts = {name: {"sampling": how} for name, how in sampling.items()}
    (folder / "datasets.json").write_text(json.dumps({"datasets": facts}))
    num_boxes = 0
    with pq.ParquetWriter(folder / "train.parquet", RECORD_SCHEMA, compression="zstd") as writer:
        for table in made_up_tables(num_images):
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
            num_boxes += int(
                pa.compute.sum(pa.compute.list_value_length(table["class_ids"])).as_py()
            )
    return num_boxes


def made_up_tables(num_images: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, NUM_CLASSES + 1)
    bounds = np.cumsum(popularity / popularity.sum())
    for dataset, share in SHARES.items():
        count = round(share * num_images)
        for first in range(0, count, ROWS_PER_GROUP):
            rows = min(ROWS_PER_GROUP, count - first)
            lengths = rng.geometric(1 / (1 + BOXES_PER_IMAGE), rows) - 1
            offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
            total = int(lengths.sum())
            class_ids = np.searchsorted(bounds, rng.random(total)).clip(0, NUM_CLASSES - 1)
            corners = pa.FixedSizeListArray.from_arrays(
                pa.array(np.zeros(4 * total, np.float32)), 4
            )
            empty = pa.array([[]] * rows, pa.list_(pa.int32()))
            columns = {
                "key": pa.array([f"{dataset}/{first + row:012d}" for row in range(rows)]),
                "dataset": pa.array([dataset] * rows),
                "image_uri": pa.array([""] * rows),
                "width": pa.array(np.full(rows, 640, np.int32)),
                "height": pa.array(np.full(rows, 480, np.int32)),
                "boxes": pa.ListArray.from_arrays(offsets, corners),
                "class_ids": pa.ListArray.from_arrays(offsets, pa.array(class_ids, pa.int32())),
                "source_ids": pa.ListArray.from_arrays(offsets, pa.array([""] * total)),
                "is_crowd": pa.ListArray.from_arrays(offsets, pa.array(np.zeros(total, np.bool_))),
                "known_ids": pa.nulls(rows, pa.list_(pa.int32())),
                "unknown_ids": empty,
            }
            yield pa.table(columns, schema=RECORD_SCHEMA)


def make_manifest(plan: SamplePlan) -> Manifest:
    """Return a manifest of shards that hold the images of a plan in another order."""
    num_images = len(plan)
    order = pa.array(np.random.default_rng(1).permutation(num_images))
    shard, place = np.divmod(np.arange(num_images), IMAGES_PER_SHARD)
    numbers = {field.name: np.zeros(num_images) for field in MANIFEST_SCHEMA}
    numbers |= {"shard": shard, "image_offset": place * 200_000.0}
    columns = {
        field.name: pa.array(numbers[field.name]).cast(field.type)
        for field in MANIFEST_SCHEMA
        if pa.types.is_integer(field.type)
    }
    columns |= {"key": plan.keys.take(order), "dataset": plan.datasets.take(order)}
    shards = [
        ShardFile(name=f"shard-{i:06d}.tar", sha256="", num_bytes=0, num_images=IMAGES_PER_SHARD)
        for i in range(int(shard[-1]) + 1)
    ]
    summary = ManifestSummary(
        split="train",
        num_images=num_images,
        num_boxes=0,
        num_bytes=0,
        num_converted=0,
        datasets={},
        shards=tuple(shards),
        label_space_sha256="",
        table_sha256="",
        sha256="",
    )
    return Manifest("/nowhere", summary, pa.table(columns))


if __name__ == "__main__":
    main()
