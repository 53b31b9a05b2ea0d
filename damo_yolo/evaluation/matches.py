"""What became of every detection and object, image by image: the raw material of statistics.

hotcoco matches once; average precision over any part of the images, or over images drawn again and
again, is then sums over these arrays. Objects of all sizes count.

Shapes: I images, D detections, O objects (crowds left out), T IoU thresholds, K classes, B draws.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from damo_yolo.evaluation.coco_ap import in_order
from damo_yolo.evaluation.coco_format import coco_objects, coco_results
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
PER_CLASS = 100
"""Detections of a class that COCO looks at in one image."""
CHUNK = 500
"""Images matched at a time."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Detections of some images, by class and within it by score, best first."""

    keys: tuple[str, ...]
    """(I,) names of the images."""
    image: NDArray[np.int32]
    """(D,) place of the detection's image in `keys`."""
    class_ids: NDArray[np.int32]
    """(D,)"""
    scores: NDArray[np.float32]
    """(D,)"""
    matched: NDArray[np.bool_]
    """(D, T) True where the detection is right."""
    ignored: NDArray[np.bool_]
    """(D, T) True where it is neither right nor wrong: on a crowd, or beyond what counts."""
    object_image: NDArray[np.int32]
    """(O,)"""
    object_class: NDArray[np.int32]
    """(O,)"""

    @classmethod
    def of(
        cls,
        detections: Iterable[Detections],
        truths: Sequence[ImageTruth],
        *,
        num_classes: int,
        max_detections: int | None = None,
    ) -> Self:
        """Match the detections of these images as COCO does.

        Args:
            detections: what was found; other images are not looked at.
            truths: the annotated images.
            num_classes: classes K of the label space.
            max_detections: kept per image, by score; None: the 100 best of each class.
        """
        images = in_order(truths)
        numbered = list(enumerate(images, start=1))
        number_of = {truth.key: number for number, truth in numbered}
        results = [np.zeros((0, 7))]
        for item in detections:  # one at a time: they may come from a file
            if (image_id := number_of.get(item.key)) is not None:
                truth = images[image_id - 1]
                rows = coco_results(item, truth, image_id, max_detections=max_detections)
                results.append(rows[_best_of_class(rows[:, 6])])
        rows = np.concatenate(results)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        matched, ignored = (np.zeros((len(rows), len(IOU_THRESHOLDS)), np.bool_) for _ in range(2))
        for start in range(0, len(numbered), CHUNK):
            chunk = numbered[start : start + CHUNK]
            first, last = np.searchsorted(rows[:, 0], (chunk[0][0], chunk[-1][0] + 1)).tolist()
            part = slice(first, last)
            matched[part], ignored[part] = _match(chunk, rows[part], num_classes)
        # Ties keep the order of images, and of the detections in one.
        order = np.lexsort((np.arange(len(rows)), -rows[:, 5], rows[:, 6]))
        objects = [truth.class_ids[~truth.is_crowd] for truth in images]
        return cls(
            keys=tuple(truth.key for truth in images),
            image=rows[order, 0].astype(np.int32) - 1,
            class_ids=rows[order, 6].astype(np.int32),
            scores=rows[order, 5].astype(np.float32),
            matched=matched[order],
            ignored=ignored[order],
            object_image=np.repeat(np.arange(len(images)), [len(o) for o in objects]).astype(
                np.int32
            ),
            object_class=np.concatenate([np.zeros(0, np.int64), *objects]).astype(np.int32),
        )

    def by_class(self) -> Iterator[tuple[int, slice]]:
        """Yield each class that has objects, and where its detections lie."""
        for class_id in np.unique(self.object_class).tolist():
            first, last = np.searchsorted(self.class_ids, (class_id, class_id + 1)).tolist()
            yield class_id, slice(first, last)

    def average_precision(self, draws: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return (B, K', T) AP of each class that has objects, in the order of `by_class`.

        Args:
            draws: (B, I) how often each image counts; ones give the plain figures.

        Returns:
            NaN where a draw holds no object of the class.
        """
        tables = []
        for class_id, part in self.by_class():
            objects = draws[:, self.object_image[self.object_class == class_id]].sum(axis=1)
            tables.append(self._class_ap(part, draws, objects))
        if not tables:
            return np.zeros((len(draws), 0, len(IOU_THRESHOLDS)))
        return np.stack(tables, axis=1)

    def _class_ap(
        self, part: slice, draws: NDArray[np.integer[Any]], objects: NDArray[np.integer[Any]]
    ) -> NDArray[np.float64]:
        """Return (B, T) AP of the class whose detections lie in `part`."""
        weights = draws[:, self.image[part]]  # (B, D')
        all_before = np.cumsum(weights, axis=1)
        columns = []
        for threshold in range(len(IOU_THRESHOLDS)):
            right = np.flatnonzero(self.matched[part, threshold])
            beside = np.flatnonzero(self.ignored[part, threshold])
            # Precision falls between two right detections, so only theirs is needed.
            tp = np.cumsum(weights[:, right], axis=1)
            tp_and_fp = all_before[:, right]
            if len(beside):
                absorbed = np.cumsum(weights[:, beside], axis=1)
                padded = np.pad(absorbed, ((0, 0), (1, 0)))
                tp_and_fp = tp_and_fp - padded[:, np.searchsorted(beside, right)]
            columns.append(_interpolated(tp, tp_and_fp, objects))
        return np.stack(columns, axis=1)


def _interpolated(
    tp: NDArray[np.integer[Any]],
    tp_and_fp: NDArray[np.integer[Any]],
    objects: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Return (B,) mean precision at the 101 recalls, from (B, P) counts at P right detections."""
    if not tp.shape[1]:
        return np.where(objects > 0, 0.0, np.nan)
    precision = tp / np.maximum(tp_and_fp, np.spacing(1.0))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = tp / np.maximum(objects, 1)[:, np.newaxis]
    nearest = np.minimum((recall * 100 + 1e-9).astype(np.int64), 100)
    reached = nearest + (RECALL_THRESHOLDS[nearest] <= recall)  # thresholds at or below it
    steps = np.diff(reached, axis=1, prepend=0)
    mean: NDArray[np.float64] = (precision * steps).sum(axis=1) / len(RECALL_THRESHOLDS)
    return np.where(objects > 0, mean, np.nan)


def _best_of_class(labels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the places of the first hundred of each label, in order."""
    order = np.argsort(labels, kind="stable")
    ranked = labels[order]
    rank = np.arange(len(labels)) - np.searchsorted(ranked, ranked)
    return np.sort(order[rank < PER_CLASS])


def _match(
    images: Sequence[tuple[int, ImageTruth]], rows: NDArray[np.float64], num_classes: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (D, T) what is right and (D, T) what is ignored of (D, 7) rows of some images."""
    from hotcoco import COCO, COCOeval  # noqa: PLC0415 - a native library

    objects = [item for image_id, truth in images for item in coco_objects(truth, image_id)]
    matched, ignored = (np.zeros((len(rows), len(IOU_THRESHOLDS)), np.bool_) for _ in range(2))
    if not objects or not len(rows):
        return matched, ignored
    annotated = COCO(
        {
            "images": [{"id": image_id} for image_id, _ in images],
            "categories": [{"id": i, "name": str(i)} for i in range(num_classes)],
            "annotations": [{**item, "id": i} for i, item in enumerate(objects, start=1)],
        }
    )
    evaluation = COCOeval(annotated, annotated.load_res(rows), "bbox")
    evaluation.evaluate()
    for column, threshold in enumerate(IOU_THRESHOLDS.tolist()):
        states = evaluation.image_diagnostics(iou_thr=threshold, score_thr=0.0)["dt_status"]
        # Detections are numbered from 1 in the order of the rows; ignored ones have no state.
        for row in range(len(rows)):
            state = states.get(row + 1)
            matched[row, column] = state == "tp"
            ignored[row, column] = state is None
    return matched, ignored
