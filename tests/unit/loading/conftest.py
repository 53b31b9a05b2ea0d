"""Shards of small painted pictures, as the shard stage writes them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from damo_yolo.datasets.records import write_records
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.samples import ImageRecord
from damo_yolo.shards.write import ShardConfig, write_shards
from tests.picture_builders import COLORS
from tests.record_builders import make_plan

NUM_CLASSES = 6
NUM_IMAGES = 60
KNOWN = {"toy": (0, 1, 2, 3), "other": (2, 3, 4, 5)}


@dataclass(frozen=True)
class Shards:
    """Locations of the shards and of a plan."""

    shards_uri: str
    plan_uri: str
    records: dict[str, ImageRecord]


def painted_record(folder: Path, number: int, *, dataset: str = "toy") -> ImageRecord:
    """Write one picture: a rectangle for each object in the colour of its class.

    Image i has i % 4 objects, every tenth a crowd region besides; sizes differ.
    """
    rng = np.random.default_rng(number)
    width, height = 60 + 4 * (number % 5), 48 + 6 * (number % 3)
    image = np.full((height, width, 3), number % 7 * 8, np.uint8)
    class_ids, boxes, crowd = [], [], []
    for place in range(number % 4):
        class_id = KNOWN[dataset][(number + place) % 4]
        x1, y1 = 2 + 18 * place, int(rng.integers(2, 20))
        box = (x1, y1, x1 + 14, y1 + int(rng.integers(14, 24)))
        image[box[1] : box[3], box[0] : box[2]] = COLORS[class_id]
        class_ids.append(class_id)
        boxes.append(box)
        crowd.append(False)
    if number % 10 == 9:
        class_ids.append(0)
        boxes.append((0, 0, 30, 30))
        crowd.append(True)
    key = f"{dataset}/{number}"
    path = folder / f"{dataset}-{number}.jpg"
    path.write_bytes(simplejpeg.encode_jpeg(image, quality=95, colorsubsampling="444"))
    return ImageRecord(
        key=key,
        dataset=dataset,
        image_uri=str(path),
        width=width,
        height=height,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.array(class_ids, np.int32),
        source_ids=tuple(map(str, class_ids)),
        is_crowd=np.array(crowd, np.bool_),
        known_ids=np.array([1, 2], np.int32) if number == 5 else None,
        unknown_ids=np.array([0] if number % 10 == 9 else [], np.int32),
    )


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """60 training images and 10 of validation, each of toy and other, over several shards."""
    root = tmp_path_factory.mktemp("shards")
    train = [painted_record(root, number) for number in range(NUM_IMAGES)]
    val = [
        painted_record(root, number, dataset=dataset)
        for number in range(100, 105)
        for dataset in ("toy", "other")
    ]
    return write_set(root, train, val, draws=np.linspace(0.5, 2.5, NUM_IMAGES))


def write_set(
    root: Path, train: list[ImageRecord], val: list[ImageRecord], *, draws: np.ndarray
) -> Shards:
    """Write shards, plan, label space and datasets.json below `root`."""
    plan: SamplePlan = make_plan(draws).scaled_to(round(draws.sum()))
    plan.write(str(root / "plan"))
    space = LabelSpace.of_names([f"class {i}" for i in range(NUM_CLASSES)])
    for split, records in (("train", train), ("val", val)):
        write_records(records, str(root / f"{split}.parquet"))
        write_shards(
            str(root / f"{split}.parquet"),
            str(root / "shards" / split),
            split="train" if split == "train" else "val",
            expected_draws=plan.expected_draws if split == "train" else None,
            label_space_sha256=space.sha256,
            config=ShardConfig(images_per_shard=16, num_workers=1),
        )
    (root / "shards" / "label_space.csv").write_text(space.to_csv())
    facts = {"evaluation": "toy", "datasets": {n: {"known_ids": k} for n, k in KNOWN.items()}}
    (root / "shards" / "datasets.json").write_text(json.dumps(facts))
    by_key = {record.key: record for record in (*train, *val)}
    return Shards(str(root / "shards"), str(root / "plan"), by_key)
