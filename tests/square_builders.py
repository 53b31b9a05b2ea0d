"""White squares on noise, merged, planned and sharded: the smallest dataset to train on."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from damo_yolo.mixing.balance import BalanceConfig
from damo_yolo.stages.balance import balance
from damo_yolo.stages.merge import merge_datasets
from damo_yolo.stages.shard import shard

CATALOG = """
name: squares
label_space: {root}/space.csv
evaluation: squares
datasets:
  - name: squares
    format: yolo
    mapping: {root}/mapping.csv
    classes: data.yaml
    train: {{annotations: train, images: train}}
    val: {{annotations: val, images: val}}
"""


@dataclass(frozen=True)
class Squares:
    """Where the stages put it."""

    records_uri: str
    plan_uri: str
    shards_uri: str


def make_squares(
    root: Path,
    *,
    images: int = 16,
    squares: int | None = None,
    global_batch: int = 4,
    config: BalanceConfig | None = None,
) -> Squares:
    """Return a dataset of so many images for training and for validation.

    Args:
        root: empty folder for data and what the stages make of it.
        images: of each split.
        squares: as many images have one; None: all.
        global_batch: images of a step.
        config: of the sample plan.
    """
    (root / "space.csv").write_text("unified_id,name\n0,square\n1,disc\n")
    (root / "mapping.csv").write_text("source_id,source_name,unified_id,also_unknown\nsquare,,0,\n")
    (root / "data.yaml").write_text("names: [square]\n")
    (root / "catalog.yaml").write_text(CATALOG.format(root=root))
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / split).mkdir()
        for number in range(images):
            image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            if squares is None or number < squares:
                image[16:48, 16:48] = 255
                (root / split / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
            cv2.imwrite(str(root / split / f"{number}.jpg"), image)
    records, plan, shards = (str(root / name) for name in ("records", "plan", "shards"))
    merge_datasets(str(root / "catalog.yaml"), records)
    balance(records, plan, config=config or BalanceConfig(), global_batch=global_batch)
    shard(records, plan, shards, global_batch=global_batch)
    return Squares(records, plan, shards)
