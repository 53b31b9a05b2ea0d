"""Average precision as COCO defines it, for partially annotated images, over any number of them.

hotcoco computes it: equal to pycocotools to the last bit (`cross_check.py` is the proof) and some
hundred times as fast. Images are matched as they come and only their matches are kept, so memory
grows with detections, not with images times classes; parts matched by several workers are joined.

Shapes: T IoU thresholds, R recall thresholds, K classes, S size bands, M detection limits.
"""

import copy
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from damo_yolo.config import Config
from damo_yolo.evaluation.coco_format import coco_objects, coco_results
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

ALL, SMALL, MEDIUM, LARGE = range(4)
BEST_1, BEST_10, BEST_100 = range(3)
IOU_50, IOU_75 = 0, 5

NONE_FOUND = np.zeros((0, 7))


class ClassAp(Config):
    """Average precision of one class; -1 where no object could have given a figure."""

    class_id: int
    name: str
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    recall: float
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
    recall_1: float
    """Recall with the best detection of each class in an image only."""
    recall_10: float
    recall: float
    """Mean over the same IoUs of the recall with at most 100 detections an image."""
    recall_small: float
    recall_medium: float
    recall_large: float
    num_images: int
    num_objects: int
    num_classes: int
    """Classes with at least one object: the mean is over these."""
    per_class: tuple[ClassAp, ...]
    """Classes with objects, by id."""


@dataclass(frozen=True, slots=True)
class ObjectCounts:
    """How many objects there are of each class, crowds not counted."""

    num_images: int
    objects: NDArray[np.int64]
    """(K,)"""
    images: NDArray[np.int64]
    """(K,) images that hold the class."""

    @classmethod
    def of(cls, truths: Iterable[ImageTruth], num_classes: int) -> Self:
        """Count the objects of these images."""
        objects, images = (np.zeros(num_classes, np.int64) for _ in range(2))
        num_images = 0
        for truth in truths:
            num_images += 1
            real = truth.class_ids[~truth.is_crowd]
            np.add.at(objects, real, 1)
            images[np.unique(real)] += 1
        return cls(num_images, objects, images)

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.num_images + other.num_images,
            self.objects + other.objects,
            self.images + other.images,
        )


class ApTally:
    """What average precision needs to know of the images seen so far."""

    def __init__(self, num_classes: int, *, max_detections: int | None = None) -> None:
        """Start with no image.

        Args:
            num_classes: classes K of the label space.
            max_detections: kept per image, by score, after classes unknown there are dropped;
                None: all, of which COCO looks at the 100 best of each class.
        """
        from hotcoco import StreamingEval  # noqa: PLC0415 - a native library

        self.num_classes = num_classes
        self.max_detections = max_detections
        self._counts = ObjectCounts.of((), num_classes)
        self._matches = StreamingEval([{"id": i, "name": str(i)} for i in range(num_classes)])

    def add(self, image_id: int, truth: ImageTruth, found: Detections | None) -> None:
        """Match the detections of one image.

        Args:
            image_id: number of the image, unique over all tallies that are joined. Among
                detections of equal score those of the lower number come first.
            truth: its annotations.
            found: its detections; None: nothing was found.
        """
        results = NONE_FOUND
        if found is not None:
            results = coco_results(found, truth, image_id, max_detections=self.max_detections)
        objects = [
            {**item, "id": i} for i, item in enumerate(coco_objects(truth, image_id), start=1)
        ]
        self._matches.update([{"id": image_id}], objects, results)
        self._counts += ObjectCounts.of((truth,), self.num_classes)

    def __add__(self, other: Self) -> Self:
        """Return one tally of the images of both; their order changes nothing."""
        from hotcoco import StreamingEval  # noqa: PLC0415 - a native library

        joined = type(self)(self.num_classes, max_detections=self.max_detections)
        joined._matches = StreamingEval.merge([self._matches, other._matches])
        joined._counts = self._counts + other._counts
        return joined

    def to_bytes(self) -> bytes:
        """Return the tally for another process."""
        return pickle.dumps(
            (self.num_classes, self.max_detections, self._counts, self._matches.to_bytes())
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` of a worker of ours wrote."""
        from hotcoco import StreamingEval  # noqa: PLC0415 - a native library

        num_classes, max_detections, counts, matches = pickle.loads(data)
        tally = cls(num_classes, max_detections=max_detections)
        tally._counts, tally._matches = counts, StreamingEval.from_bytes(matches)
        return tally

    def result(self, class_names: Sequence[str]) -> ApResult:
        """Return the average precision of the images so far."""
        if not self._counts.num_images:
            none = np.full((10, 101, self.num_classes, 4, 3), -1.0)
            return summarise(none, none[:, 0], self._counts, class_names)
        evaluation = copy.copy(self._matches).finalize()  # which spends what it is called on
        evaluation.accumulate()
        tables = evaluation.eval
        assert tables is not None
        return summarise(tables["precision"], tables["recall"], self._counts, class_names)


def average_precision(
    detections: Iterable[Detections],
    truths: Sequence[ImageTruth],
    *,
    class_names: Sequence[str],
    max_detections: int | None = None,
) -> ApResult:
    """Return the average precision of the detections on the images of `truths`.

    Args:
        detections: what was found; images that `truths` does not list are not looked at, and an
            image without an entry counts as one where nothing was found.
        truths: the annotated images.
        class_names: name of each class id.
        max_detections: kept per image, by score, after classes unknown there are dropped; None:
            all, of which COCO looks at the 100 best of each class.
    """
    found = {item.key: item for item in detections}
    tally = ApTally(len(class_names), max_detections=max_detections)
    for image_id, truth in enumerate(in_order(truths), start=1):
        tally.add(image_id, truth, found.get(truth.key))
    return tally.result(class_names)


def in_order(truths: Iterable[ImageTruth]) -> list[ImageTruth]:
    """Return images by key: detections of equal score count in the order of their images."""
    return sorted(truths, key=lambda truth: truth.key)


def summarise(
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    counts: ObjectCounts,
    class_names: Sequence[str],
) -> ApResult:
    """Return the figures of (T, R, K, S, M) precision and (T, K, S, M) recall, -1 where unknown."""
    with_objects = np.flatnonzero(counts.objects)
    per_class = tuple(
        ClassAp(
            class_id=k,
            name=class_names[k],
            **_precision_figures(precision[:, :, k, :, BEST_100]),
            recall=_mean(recall[:, k, ALL, BEST_100]),
            num_objects=int(counts.objects[k]),
            num_images=int(counts.images[k]),
        )
        for k in with_objects.tolist()
    )
    return ApResult(
        **_precision_figures(precision[..., BEST_100]),
        recall_1=_mean(recall[..., ALL, BEST_1]),
        recall_10=_mean(recall[..., ALL, BEST_10]),
        recall=_mean(recall[..., ALL, BEST_100]),
        recall_small=_mean(recall[..., SMALL, BEST_100]),
        recall_medium=_mean(recall[..., MEDIUM, BEST_100]),
        recall_large=_mean(recall[..., LARGE, BEST_100]),
        num_images=counts.num_images,
        num_objects=int(counts.objects.sum()),
        num_classes=len(with_objects),
        per_class=per_class,
    )


def _precision_figures(precision: NDArray[np.float64]) -> dict[str, Any]:
    """Return the six figures of (T, R, ..., S) precision."""
    return {
        "ap": _mean(precision[..., ALL]),
        "ap50": _mean(precision[IOU_50, ..., ALL]),
        "ap75": _mean(precision[IOU_75, ..., ALL]),
        "ap_small": _mean(precision[..., SMALL]),
        "ap_medium": _mean(precision[..., MEDIUM]),
        "ap_large": _mean(precision[..., LARGE]),
    }


def _mean(values: NDArray[np.float64]) -> float:
    real = values[values > -1]
    return float(real.mean()) if real.size else -1.0
