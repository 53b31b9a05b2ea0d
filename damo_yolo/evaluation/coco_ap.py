"""Average precision as COCO defines it, computed by pycocotools, for partially annotated images.

Two things differ from handing all boxes to pycocotools at once, neither changes a figure:

- Classes are evaluated one at a time over the images that hold or were found to hold them. 701
  classes then cost what their boxes cost, in time and in memory.
- A detection counts only where its class is known, that is, where its absence would be evidence.
  Of a class that is present but not known to be complete, the objects count, and a detection that
  matches none of them is ignored (a crowd region over the whole plane absorbs it).

COCO's own size bands use mask areas; records hold boxes, so ours use box areas.

Shapes: T IoU thresholds, R recall thresholds, K classes, S size bands.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo.boxes import xyxy_to_xywh
from damo_yolo.config import Config
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

MAX_DETECTIONS = 100
"""COCO looks at the 100 best detections of an image."""

EVERYWHERE = [-1e6, -1e6, 2e6, 2e6]
"""xywh of a region that holds any box of any image."""

ALL, SMALL, MEDIUM, LARGE = range(4)
IOU_50, IOU_75 = 0, 5


class ClassAp(Config):
    """Average precision of one class."""

    class_id: int
    name: str
    ap: float
    ap50: float
    num_objects: int
    num_images: int


class ApResult(Config):
    """Average precision over classes; -1 where no object could have given a figure."""

    ap: float
    """Mean over IoU 0.50 to 0.95, in steps of 0.05."""
    ap50: float
    ap75: float
    ap_small: float
    """Objects below 32 x 32 px."""
    ap_medium: float
    ap_large: float
    """Objects above 96 x 96 px."""
    recall: float
    """Mean over the same IoUs of the recall with at most 100 detections an image."""
    num_images: int
    num_objects: int
    num_classes: int
    """Classes with at least one object: the mean is over these."""
    per_class: tuple[ClassAp, ...]
    """Classes with objects, by id."""


def average_precision(
    detections: Iterable[Detections],
    truths: Sequence[ImageTruth],
    *,
    class_names: Sequence[str],
    max_detections: int = MAX_DETECTIONS,
) -> ApResult:
    """Return the average precision of the detections on the images of `truths`.

    Args:
        detections: what was found; images that `truths` does not list are not looked at, and an
            image without an entry counts as one where nothing was found.
        truths: the annotated images.
        class_names: name of each class id.
        max_detections: kept per image, by score, after classes unknown there are dropped.
    """
    ordered = sorted(truths, key=lambda truth: truth.key)
    found = {item.key: item for item in detections}
    objects = _objects_by_class(ordered)
    detected = _detections_by_class(ordered, found, max_detections)
    class_ids = sorted(
        class_id for class_id, boxes in objects.items() if any(not b["iscrowd"] for b in boxes)
    )
    tables = [
        _evaluate_class(class_id, objects[class_id], detected.get(class_id, []))
        for class_id in class_ids
    ]
    per_class = tuple(
        _class_ap(class_id, class_names[class_id], precision, objects[class_id])
        for class_id, (precision, _) in zip(class_ids, tables, strict=True)
    )
    return _summary(tables, per_class, num_images=len(ordered))


def _objects_by_class(truths: Sequence[ImageTruth]) -> Mapping[int, list[dict[str, Any]]]:
    """Return COCO annotations of each class; image ids are positions in `truths`, plus one."""
    objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for image_id, truth in enumerate(truths, start=1):
        for box, class_id, crowd in zip(
            xyxy_to_xywh(truth.boxes).tolist(),
            truth.class_ids.tolist(),
            truth.is_crowd.tolist(),
            strict=True,
        ):
            objects[class_id].append(_annotation(image_id, class_id, box, crowd=crowd))
        for class_id in truth.present_but_incomplete():
            objects[class_id].append(_annotation(image_id, class_id, EVERYWHERE, crowd=True))
    return objects


def _detections_by_class(
    truths: Sequence[ImageTruth], found: Mapping[str, Detections], max_detections: int
) -> Mapping[int, list[dict[str, Any]]]:
    """Return COCO results of each class, without classes that the image says nothing about."""
    detected: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for image_id, truth in enumerate(truths, start=1):
        if truth.key not in found:
            continue
        item = found[truth.key]
        counted = truth.counted_classes()
        keep = np.flatnonzero(counted[item.labels])
        best = keep[np.argsort(-item.scores[keep], kind="stable")][:max_detections]
        for box, score, class_id in zip(
            xyxy_to_xywh(item.boxes[best]).tolist(),
            item.scores[best].tolist(),
            item.labels[best].tolist(),
            strict=True,
        ):
            annotation = _annotation(image_id, class_id, box, crowd=False)
            detected[class_id].append({**annotation, "score": score})
    return detected


def _annotation(image_id: int, class_id: int, box: list[float], *, crowd: bool) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": class_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": int(crowd),
    }


def _evaluate_class(
    class_id: int, objects: list[dict[str, Any]], detected: list[dict[str, Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision (T, R, S) and recall (T, S) of one class, -1 where there is no object."""
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415 - pulls in matplotlib

    images = sorted({box["image_id"] for box in (*objects, *detected)})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each step
        evaluation = COCOeval(
            _coco(objects, images, class_id), _coco(detected, images, class_id), "bbox"
        )
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision: NDArray[np.float64] = evaluation.eval["precision"][:, :, 0, :, 0]
    recall: NDArray[np.float64] = evaluation.eval["recall"][:, 0, :, 0]
    return precision, recall


def _coco(annotations: list[dict[str, Any]], images: list[int], class_id: int) -> Any:
    from pycocotools.coco import COCO  # noqa: PLC0415 - pulls in matplotlib

    coco = COCO()
    coco.dataset = {
        "images": [{"id": image_id} for image_id in images],
        "categories": [{"id": class_id}],
        # pycocotools marks a match by the object's id: 0 would read as no match.
        "annotations": [{**item, "id": i} for i, item in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _class_ap(
    class_id: int, name: str, precision: NDArray[np.float64], objects: list[dict[str, Any]]
) -> ClassAp:
    real = [box for box in objects if not box["iscrowd"]]
    return ClassAp(
        class_id=class_id,
        name=name,
        ap=_mean(precision[:, :, ALL]),
        ap50=_mean(precision[IOU_50, :, ALL]),
        num_objects=len(real),
        num_images=len({box["image_id"] for box in real}),
    )


def _summary(
    tables: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    per_class: tuple[ClassAp, ...],
    *,
    num_images: int,
) -> ApResult:
    # (T, R, K, S) and (T, K, S), in pycocotools' own order, so that sums round as its sums do
    precision = (
        np.stack([table for table, _ in tables], axis=2) if tables else np.empty((10, 0, 0, 4))
    )
    recall = np.stack([table for _, table in tables], axis=1) if tables else np.empty((10, 0, 4))
    return ApResult(
        ap=_mean(precision[..., ALL]),
        ap50=_mean(precision[IOU_50, ..., ALL]),
        ap75=_mean(precision[IOU_75, ..., ALL]),
        ap_small=_mean(precision[..., SMALL]),
        ap_medium=_mean(precision[..., MEDIUM]),
        ap_large=_mean(precision[..., LARGE]),
        recall=_mean(recall[..., ALL]),
        num_images=num_images,
        num_objects=sum(item.num_objects for item in per_class),
        num_classes=len(per_class),
        per_class=per_class,
    )


def _mean(values: NDArray[np.float64]) -> float:
    real = values[values > -1]
    return float(real.mean()) if real.size else -1.0
