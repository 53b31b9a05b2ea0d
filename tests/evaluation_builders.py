"""Annotated images and detections for tests of evaluation: by hand, random, and real."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

NAMES = ("cat", "dog", "bird")
BOX = (10.0, 10.0, 110.0, 110.0)
FAR = (300.0, 300.0, 400.0, 400.0)


def make_truth(
    key: str = "a/1",
    boxes: Sequence[Sequence[float]] = (BOX,),
    labels: Sequence[int] = (0,),
    *,
    crowd: Sequence[bool] | None = None,
    known: Sequence[int] = (0, 1, 2),
    num_classes: int = 3,
) -> ImageTruth:
    """Return an annotated image; `crowd` None: no object is one."""
    return ImageTruth(
        key=key,
        dataset=key.partition("/")[0],
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.array(labels, np.int64),
        is_crowd=np.array([False] * len(labels) if crowd is None else crowd, np.bool_),
        known=np.isin(np.arange(num_classes), known),
    )


def make_found(
    boxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    labels: Sequence[int],
    *,
    key: str = "a/1",
) -> Detections:
    """Return detections, best first."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return Detections(
        key=key,
        boxes=np.array(boxes, np.float32).reshape(-1, 4)[order],
        scores=np.array(scores, np.float32)[order],
        labels=np.array(labels, np.int64)[order],
    )


def random_case(
    *, images: int, classes: int, seed: int, known_share: float = 1.0
) -> tuple[list[Detections], list[ImageTruth]]:
    """Return objects of all sizes, some of them crowds, and detections near them and elsewhere.

    The last class has no object; scores have two digits, so that many are equal.

    Args:
        images: number of images, named a/000, a/001, ...
        classes: number of classes.
        seed: of all that is random.
        known_share: chance of a class to be known in an image.
    """
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for image in range(images):
        count = int(rng.integers(0, 9))
        corners = rng.uniform(0, 300, (count, 2))
        boxes = np.concatenate((corners, corners + rng.uniform(8, 200, (count, 2))), axis=1)
        labels = rng.integers(0, classes - 1, count)
        key = f"a/{image:03d}"
        truths.append(
            make_truth(
                key,
                boxes.tolist(),
                labels.tolist(),
                crowd=(rng.random(count) < 0.15).tolist(),
                known=np.flatnonzero(rng.random(classes) < known_share).tolist(),
                num_classes=classes,
            )
        )
        near = np.repeat(boxes, 3, axis=0) + rng.normal(0, 4, (3 * count, 4))
        far = np.tile([5.0, 5.0, 50.0, 60.0], (4, 1)) + rng.uniform(0, 40, (4, 1))
        names = np.concatenate((np.repeat(labels, 3), rng.integers(0, classes, 4)))
        every = np.concatenate((near, far))
        scores = rng.random(len(names)).round(2)
        detections.append(make_found(every.tolist(), scores.tolist(), names.tolist(), key=key))
    return detections, truths


def coco_val80(shared_data_dir: Path) -> tuple[tuple[str, ...], list[ImageTruth]]:
    """Return the 80 class names, and 80 real photographs' annotations with classes 0..79."""
    path = shared_data_dir / "coco_val80" / "annotations" / "instances_val2017.json"
    values = json.loads(path.read_text("utf-8"))
    categories = sorted(values["categories"], key=lambda item: item["id"])
    places = {item["id"]: place for place, item in enumerate(categories)}
    truths = []
    for image in sorted(values["images"], key=lambda item: item["id"]):
        own = [item for item in values["annotations"] if item["image_id"] == image["id"]]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (item["bbox"] for item in own)]
        truths.append(
            make_truth(
                f"coco/{image['id']:012d}",
                boxes,
                [places[item["category_id"]] for item in own],
                crowd=[bool(item["iscrowd"]) for item in own],
                known=range(80),
                num_classes=80,
            )
        )
    return tuple(item["name"] for item in categories), truths


def perturbed(truths: Sequence[ImageTruth], *, seed: int) -> list[Detections]:
    """Return detections as a fair detector might give: moved, confused, missed and invented."""
    rng = np.random.default_rng(seed)
    found = []
    for truth in truths:
        kept = np.repeat(np.arange(len(truth.boxes)), rng.integers(0, 4, len(truth.boxes)))
        sides = truth.boxes[kept, 2:] - truth.boxes[kept, :2]
        moved = truth.boxes[kept] + rng.normal(0, 0.08, (len(kept), 4)) * np.tile(sides, 2)
        labels = truth.class_ids[kept].copy()
        confused = rng.random(len(kept)) < 0.1
        labels[confused] = rng.integers(0, len(truth.known), confused.sum())
        invented = rng.uniform(0, 200, (8, 4)) + np.array([0, 0, 200, 200])
        found.append(
            make_found(
                np.concatenate((moved, invented)).tolist(),
                rng.random(len(kept) + 8).round(3).tolist(),
                np.concatenate((labels, rng.integers(0, len(truth.known), 8))).tolist(),
                key=truth.key,
            )
        )
    return found
