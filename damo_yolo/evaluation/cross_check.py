"""The same average precision by pycocotools, the reference: slow, and in memory all at once."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import ApResult, ObjectCounts, in_order, summarise
from damo_yolo.evaluation.coco_format import coco_objects, coco_results
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

FIGURES = tuple(name for name, field in ApResult.model_fields.items() if field.annotation is float)


def pycocotools_precision(
    detections: Iterable[Detections],
    truths: Sequence[ImageTruth],
    *,
    class_names: Sequence[str],
    max_detections: int | None = None,
) -> ApResult:
    """Return what `coco_ap.average_precision` returns, computed by pycocotools."""
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415 - pulls in matplotlib

    found = {item.key: item for item in detections}
    objects: list[dict[str, Any]] = []
    results = [np.zeros((0, 7))]
    images = in_order(truths)
    for image_id, truth in enumerate(images, start=1):
        objects += coco_objects(truth, image_id)
        if truth.key in found:
            item = found[truth.key]
            results.append(coco_results(item, truth, image_id, max_detections=max_detections))
    annotated = _coco(objects, len(images), len(class_names))
    detected = _coco(_annotations(np.concatenate(results)), len(images), len(class_names))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each step
        evaluation = COCOeval(annotated, detected, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    counts = ObjectCounts.of(images, len(class_names))
    return summarise(evaluation.eval["precision"], evaluation.eval["recall"], counts, class_names)


def largest_difference(first: ApResult, second: ApResult) -> float:
    """Return the largest absolute difference of two results in any figure, over all and by class.

    Raises:
        ValueError: they are not of the same images and classes.
    """
    pairs: list[tuple[Config, Config]] = [
        (first, second),
        *zip(first.per_class, second.per_class, strict=True),
    ]
    differences = [
        abs(float(getattr(one, name)) - float(getattr(other, name)))
        for one, other in pairs
        for name in FIGURES
        if name in type(one).model_fields
    ]
    return max(differences)


def _annotations(results: Any) -> list[dict[str, Any]]:
    return [
        {
            "image_id": int(row[0]),
            "category_id": int(row[6]),
            "bbox": row[1:5],
            "area": row[3] * row[4],
            "iscrowd": 0,
            "score": row[5],
        }
        for row in results.tolist()
    ]


def _coco(annotations: list[dict[str, Any]], num_images: int, num_classes: int) -> Any:
    from pycocotools.coco import COCO  # noqa: PLC0415 - pulls in matplotlib

    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(1, num_images + 1)],
        "categories": [{"id": i} for i in range(num_classes)],
        # pycocotools marks a match by the object's id: 0 would read as no match.
        "annotations": [{**item, "id": i} for i, item in enumerate(annotations, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
