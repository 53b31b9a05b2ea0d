"""Annotated images and detections in the form that COCO evaluators read.

Partial labels become plain COCO here, so that any evaluator treats them right:

- A detection counts only where its class is known, that is, where its absence would be evidence.
- Of a class that is present but not known to be complete, the objects count, and a detection that
  matches none of them is ignored: a crowd region over the whole plane absorbs it.

COCO's own size bands use mask areas; records hold boxes, so ours use box areas.

Shapes: N detections of an image.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo.boxes import xyxy_to_xywh
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

EVERYWHERE = [-1e6, -1e6, 2e6, 2e6]
"""xywh of a region that holds any box of any image."""


def coco_objects(truth: ImageTruth, image_id: int) -> list[dict[str, Any]]:
    """Return the COCO annotations of one image, without ids."""
    boxes = xyxy_to_xywh(truth.boxes).tolist()
    objects = [
        _annotation(image_id, class_id, box, crowd=crowd)
        for box, class_id, crowd in zip(
            boxes, truth.class_ids.tolist(), truth.is_crowd.tolist(), strict=True
        )
    ]
    objects += [
        _annotation(image_id, class_id, EVERYWHERE, crowd=True)
        for class_id in truth.present_but_incomplete()
    ]
    return objects


def coco_results(
    found: Detections, truth: ImageTruth, image_id: int, *, max_detections: int | None = None
) -> NDArray[np.float64]:
    """Return (N, 7) image id, x, y, width, height, score, class id of what counts, best first.

    Args:
        found: detections of the image.
        truth: says which classes count there.
        image_id: number of the image.
        max_detections: kept, by score, after classes that do not count are dropped; None: all (an
            evaluator looks at the 100 best of each class).
    """
    keep = np.flatnonzero(truth.counted_classes()[found.labels])
    best = keep[np.argsort(-found.scores[keep], kind="stable")][:max_detections]
    rows = np.empty((len(best), 7))
    rows[:, 0] = image_id
    rows[:, 1:5] = xyxy_to_xywh(found.boxes[best])
    rows[:, 5] = found.scores[best]
    rows[:, 6] = found.labels[best]
    return rows


def _annotation(image_id: int, class_id: int, box: list[float], *, crowd: bool) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": class_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": int(crowd),
    }
