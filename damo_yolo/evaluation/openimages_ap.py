"""AP50 as the Open Images challenge defines it, from 2018 on.

The definition is that of https://storage.googleapis.com/openimages/web/evaluation.html:

- Annotations are expanded: a box of a class is also a box of each of its ancestors; a class that
  somebody saw is seen together with its ancestors, one looked for in vain is absent together with
  its descendants. Detections are taken as they are.
- A detection counts only if its class is verified for the image, present or absent.
- Detections are matched by score to single objects, each to the one it overlaps most, at IoU 0.5 or
  more; a second one on the same object is wrong.
- What is left may lie in a group-of box: half of the *detection* inside it is enough. All of
  them together are one right detection, with the best of their scores; a group-of box that holds
  none is one missed object.
- AP is the area under the precision envelope (no grid of recalls), the mean over classes with
  objects is the figure.

Shapes: N objects and D detections of one class in one image, K classes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from damo_yolo.boxes import area
from damo_yolo.config import Config
from damo_yolo.evaluation.coco_ap import in_order
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

IOU = 0.5
Ancestors = Mapping[int, frozenset[int]]
"""Class id to the ids of all classes above it."""


class OpenImagesAp(Config):
    """The challenge's figure."""

    ap50: float
    """Mean over classes with objects; -1 where there is none."""
    num_images: int
    num_objects: int
    """After expansion; a group-of box is one."""
    per_class: dict[int, float]
    """Class id to AP50."""


def openimages_ap50(
    detections: Iterable[Detections],
    truths: Sequence[ImageTruth],
    *,
    class_ids: Iterable[int],
    ancestors: Ancestors,
) -> OpenImagesAp:
    """Return the challenge's AP50.

    Args:
        detections: what was found; images that `truths` does not list are not looked at.
        truths: images with boxes at the most specific class. `is_crowd` says group-of; `known`
            says which classes are verified.
        class_ids: classes of the challenge, in ids of the label space.
        ancestors: the class tree.
    """
    found = {item.key: item for item in detections}
    wanted = set(class_ids)
    scores: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    right: dict[int, list[NDArray[np.bool_]]] = defaultdict(list)
    objects: dict[int, int] = defaultdict(int)
    for truth in in_order(truths):
        boxes, labels, group = expanded(truth, ancestors)
        verified = verified_classes(truth, ancestors)
        item = found.get(truth.key)
        for class_id, count in Counter(labels.tolist()).items():
            objects[class_id] += count
        if item is None:
            continue
        for class_id in wanted.intersection(np.unique(item.labels[verified[item.labels]]).tolist()):
            mine, here = labels == class_id, item.labels == class_id
            single, many = mine & ~group, mine & group
            score, hit = _match(item.boxes[here], item.scores[here], boxes[single], boxes[many])
            scores[class_id].append(score)
            right[class_id].append(hit)
    per_class = {
        class_id: _area_under_curve(scores[class_id], right[class_id], objects[class_id])
        for class_id in sorted(wanted & objects.keys())
    }
    return OpenImagesAp(
        ap50=float(np.mean(list(per_class.values()))) if per_class else -1.0,
        num_images=len(truths),
        num_objects=sum(objects[class_id] for class_id in per_class),
        per_class=per_class,
    )


def expanded(
    truth: ImageTruth, ancestors: Ancestors
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Return boxes, labels and group-of flags with a copy of each box for every class above."""
    places, labels = [], []
    for place, label in enumerate(truth.class_ids.tolist()):
        family = [label, *sorted(ancestors.get(label, ()))]
        places += [place] * len(family)
        labels += family
    rows = np.array(places, np.int64)
    return truth.boxes[rows], np.array(labels, np.int64), truth.is_crowd[rows]


def verified_classes(truth: ImageTruth, ancestors: Ancestors) -> NDArray[np.bool_]:
    """Return (K,) True where the image says whether the class is there."""
    verified = (truth.known if truth.verified is None else truth.verified).copy()
    seen = set(np.flatnonzero(verified & ~truth.known).tolist()) | set(truth.class_ids.tolist())
    present = seen.union(*(ancestors.get(label, frozenset()) for label in seen))
    verified[list(present)] = True
    absent = set(np.flatnonzero(truth.known).tolist()) - present
    for label, above in ancestors.items():
        if above & absent:
            verified[label] = True
    return verified


def _match(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    single: NDArray[np.float32],
    groups: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and whether each is right, the detections in one group-of box being one."""
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    right = np.zeros(len(boxes), np.bool_)
    if len(single):
        overlap = _overlap(boxes, single)
        union = area(boxes)[:, np.newaxis] + area(single) - overlap
        iou = overlap / np.maximum(union, 1e-9)
        nearest = iou.argmax(axis=1)
        close = iou.max(axis=1) >= IOU
        _, first = np.unique(np.where(close, nearest, -1), return_index=True)
        right[first] = close[first]
    inside = np.full(len(boxes), -1)
    if len(groups):
        share = _overlap(boxes, groups) / np.maximum(area(boxes), 1e-9)[:, np.newaxis]
        in_group = ~right & (share.max(axis=1) >= IOU)
        inside[in_group] = share.argmax(axis=1)[in_group]
    held, best = np.unique(inside, return_index=True)  # sorted by score: the first is the best
    alone = inside < 0
    return (
        np.concatenate((scores[alone], scores[best[held >= 0]])).astype(np.float64),
        np.concatenate((right[alone], np.ones((held >= 0).sum(), np.bool_))),
    )


def _overlap(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (D, N) areas that (D, 4) and (N, 4) boxes have in common."""
    left_top = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    right_bottom = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    sides = (right_bottom - left_top).clip(0, None).astype(np.float64)
    areas: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return areas


def _area_under_curve(
    scores: Sequence[NDArray[np.float64]], right: Sequence[NDArray[np.bool_]], num_objects: int
) -> float:
    if not scores:
        return 0.0
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.concatenate(right)[order]
    tp = np.cumsum(hits)
    precision = np.maximum.accumulate((tp / np.arange(1, len(tp) + 1))[::-1])[::-1]
    return float(precision[hits].sum() / num_objects)
