"""What a detector does wrong: how often, at what cost, for which classes, in which images.

Shapes: I images, D detections, O objects, K classes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import IOU_50, IOU_75, in_order
from damo_yolo.evaluation.coco_format import coco_objects, coco_results
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.matches import IOU_THRESHOLDS, RECALL_THRESHOLDS, Matches
from damo_yolo.samples import Detections

ERROR_NAMES = {
    "Loc": "localisation",
    "Cls": "class",
    "Both": "class and localisation",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
}
"""TIDE's error types (Bolya et al., ECCV 2020) in our words."""


class ErrorConfig(Config):
    """How errors are looked at."""

    shown_score: float = Field(default=0.4, ge=0, le=1)
    """Detections from it on count in confusions and worst images: what a user would see."""
    num_bins: int = Field(default=10, ge=2)
    """Of the calibration: many bins hold few detections each."""
    num_confusions: int = Field(default=20, ge=0)
    """Pairs of classes listed."""
    num_worst: int = Field(default=12, ge=0)
    """Images listed."""
    max_images: int = Field(default=5000, ge=1)
    """Images looked at, chosen at random: bounds the memory."""
    seed: int = 0


class ErrorType(Config):
    """One kind of error, at IoU 0.5."""

    name: str
    count: int
    ap50_cost: float
    """AP50 that would be won if no error of the kind were made."""


class Confusion(Config):
    """Objects of one class that were found as another."""

    class_id: int
    found_as: int
    count: int
    share: float
    """Of the objects of the class."""


class CalibrationBin(Config):
    """Detections of similar score."""

    low: float
    high: float
    count: int
    mean_score: float
    precision: float
    """Share of them that is right at IoU 0.5."""


class Curve(Config):
    """Precision at recall 0, 0.01, ..., 1, mean over classes."""

    iou: float
    precision: tuple[float, ...]


class WorstImage(Config):
    """An image and what is wrong there at IoU 0.5, among detections that are shown."""

    key: str
    num_missed: int
    num_wrong: int
    num_right: int


class ErrorAnalysis(Config):
    """Content of `errors.json`."""

    dataset: str
    num_images: int
    types: tuple[ErrorType, ...]
    """Costliest first."""
    confusions: tuple[Confusion, ...]
    """Most frequent first."""
    expected_calibration_error: float
    """Mean distance of score and precision, weighed by detections: 0 is a score to be believed."""
    calibration: tuple[CalibrationBin, ...]
    """Bins that hold detections."""
    curves: tuple[Curve, ...]
    worst: tuple[WorstImage, ...]
    """Most errors first."""
    shown_score: float


def analyse_errors(
    detections: Iterable[Detections],
    truths: Sequence[ImageTruth],
    *,
    num_classes: int,
    dataset: str,
    config: ErrorConfig | None = None,
) -> ErrorAnalysis:
    """Return what goes wrong on these images.

    Args:
        detections: what was found.
        truths: the annotated images.
        num_classes: classes K of the label space.
        dataset: name for the record.
        config: how errors are looked at.
    """
    config = config or ErrorConfig()
    images = _chosen(truths, config)
    found = {item.key: item for item in detections}
    kept = [found[truth.key] for truth in images if truth.key in found]
    matches = Matches.of(kept, images, num_classes=num_classes)
    bins = calibration(matches, config.num_bins)
    total = max(1, sum(item.count for item in bins))
    types, confusions = _of_pairs(found, images, num_classes=num_classes, config=config)
    return ErrorAnalysis(
        dataset=dataset,
        num_images=len(images),
        types=types,
        confusions=confusions,
        expected_calibration_error=sum(
            abs(item.mean_score - item.precision) * item.count / total for item in bins
        ),
        calibration=bins,
        curves=tuple(precision_curve(matches, column) for column in (IOU_50, IOU_75)),
        worst=worst_images(matches, config),
        shown_score=config.shown_score,
    )


def calibration(matches: Matches, num_bins: int) -> tuple[CalibrationBin, ...]:
    """Return score against precision at IoU 0.5, in bins of equal width; empty ones left out."""
    counted = ~matches.ignored[:, IOU_50]
    scores, right = matches.scores[counted], matches.matched[counted, IOU_50]
    places = np.minimum((scores * num_bins).astype(np.int64), num_bins - 1)
    return tuple(
        CalibrationBin(
            low=place / num_bins,
            high=(place + 1) / num_bins,
            count=int((places == place).sum()),
            mean_score=float(scores[places == place].mean()),
            precision=float(right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    )


def precision_curve(matches: Matches, column: int) -> Curve:
    """Return precision at the 101 recalls, mean over classes, at one IoU threshold."""
    rows = []
    for class_id, part in matches.by_class():
        counted = ~matches.ignored[part, column]
        tp = np.cumsum(matches.matched[part, column][counted])
        precision = tp / np.arange(1, len(tp) + 1)
        precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        recall = tp / (matches.object_class == class_id).sum()
        rows.append(precision[np.searchsorted(recall, RECALL_THRESHOLDS)])
    mean = np.mean(rows, axis=0) if rows else np.zeros(len(RECALL_THRESHOLDS))
    return Curve(iou=float(IOU_THRESHOLDS[column]), precision=tuple(mean.round(6).tolist()))


def worst_images(matches: Matches, config: ErrorConfig) -> tuple[WorstImage, ...]:
    """Return the images with the most missed objects and wrong detections."""
    shown = (matches.scores >= config.shown_score) & ~matches.ignored[:, IOU_50]
    right = shown & matches.matched[:, IOU_50]
    count = len(matches.keys)
    num_right = np.bincount(matches.image[right], minlength=count)
    num_wrong = np.bincount(matches.image[shown & ~right], minlength=count)
    num_missed = np.bincount(matches.object_image, minlength=count) - num_right
    errors = num_missed + num_wrong
    order = np.argsort(-errors, kind="stable")[: config.num_worst].tolist()
    return tuple(
        WorstImage(
            key=matches.keys[i],
            num_missed=int(num_missed[i]),
            num_wrong=int(num_wrong[i]),
            num_right=int(num_right[i]),
        )
        for i in order
        if errors[i]
    )


def _chosen(truths: Sequence[ImageTruth], config: ErrorConfig) -> list[ImageTruth]:
    images = in_order(truths)
    if len(images) <= config.max_images:
        return images
    rng = np.random.default_rng(config.seed)
    places = rng.choice(len(images), config.max_images, replace=False)
    return [images[place] for place in np.sort(places).tolist()]


def _of_pairs(
    found: dict[str, Detections],
    images: Sequence[ImageTruth],
    *,
    num_classes: int,
    config: ErrorConfig,
) -> tuple[tuple[ErrorType, ...], tuple[Confusion, ...]]:
    """Return error types and confusions, which look at boxes of different classes together."""
    from hotcoco import COCO, COCOeval  # noqa: PLC0415 - a native library

    numbered = list(enumerate(images, start=1))
    objects = [item for image_id, truth in numbered for item in coco_objects(truth, image_id)]
    rows = [
        coco_results(found[truth.key], truth, image_id)
        for image_id, truth in numbered
        if truth.key in found
    ]
    if not objects or not sum(map(len, rows)):
        return (), ()
    annotated = COCO(
        {
            "images": [{"id": image_id} for image_id, _ in numbered],
            "categories": [{"id": i, "name": str(i)} for i in range(num_classes)],
            "annotations": [{**item, "id": i} for i, item in enumerate(objects, start=1)],
        }
    )
    evaluation = COCOeval(annotated, annotated.load_res(np.concatenate(rows)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    matrix = evaluation.confusion_matrix(iou_thr=0.5, min_score=config.shown_score)["matrix"]
    return _error_types(evaluation.tide_errors()), _confusions(matrix, config.num_confusions)


def _error_types(tide: dict[str, Any]) -> tuple[ErrorType, ...]:
    types = [
        ErrorType(name=ours, count=tide["counts"][theirs], ap50_cost=tide["delta_ap"][theirs])
        for theirs, ours in ERROR_NAMES.items()
    ]
    return tuple(sorted(types, key=lambda item: -item.ap50_cost))


def _confusions(matrix: NDArray[np.integer[Any]], count: int) -> tuple[Confusion, ...]:
    """Return the largest entries off the diagonal of (K + 1, K + 1); the last is background."""
    objects = matrix[:-1].sum(axis=1)
    wrong = matrix[:-1, :-1].astype(np.int64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [divmod(place, wrong.shape[1]) for place in order.tolist()]
    return tuple(
        Confusion(
            class_id=class_id,
            found_as=other,
            count=int(wrong[class_id, other]),
            share=float(wrong[class_id, other] / objects[class_id]),
        )
        for class_id, other in pairs
        if wrong[class_id, other]
    )
