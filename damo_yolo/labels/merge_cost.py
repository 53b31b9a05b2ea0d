"""What joining classes costs: average precision on each dataset's own validation images.

One detector with a set of outputs per dataset looks at the validation images of all of them. For a
group of classes and each dataset that annotates one, the boxes of all its outputs are put together,
thinned by NMS, and scored against that dataset's objects; the loss against the class's own output
is the cost. Average precision is at IoU 0.5, over 101 recalls, as COCO computes it.

Shapes: D detections, N objects, of one class over all images.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from damo_yolo.labels.learned import Group, LearnConfig

IOU = 0.5
RECALLS = np.linspace(0, 1, 101)
PAIR = 2


@dataclass(frozen=True)
class Found:
    """Detections of one class in the images of one dataset."""

    images: NDArray[np.int64]
    """(D,) place of the image."""
    boxes: NDArray[np.float64]
    """(D, 4) xywh pixels."""
    scores: NDArray[np.float64]
    """(D,)"""

    @cached_property
    def by_image(self) -> Mapping[int, NDArray[np.int64]]:
        """Rows of each image, best first."""
        return _rows_by_image(self.images, np.argsort(-self.scores, kind="stable"))


@dataclass(frozen=True)
class Objects:
    """Annotated objects of one class in the images of one dataset."""

    images: NDArray[np.int64]
    """(N,) place of the image."""
    boxes: NDArray[np.float64]
    """(N, 4) xywh pixels."""
    is_crowd: NDArray[np.bool_]
    """(N,) True: neither right nor wrong to detect."""
    is_known: NDArray[np.bool_] | None = None
    """Per image of the dataset whether the absence of the class is evidence; None: in all."""

    @cached_property
    def by_image(self) -> Mapping[int, NDArray[np.int64]]:
        """Rows of each image, crowds last."""
        return _rows_by_image(self.images, np.argsort(self.is_crowd, kind="stable"))


@dataclass(frozen=True)
class Validation:
    """One dataset's validation images: its objects, and what every output found there."""

    objects: Mapping[int, Objects]
    """By class: of this dataset."""
    found: Mapping[int, Found]
    """By class: of all datasets."""


def candidate_groups(
    datasets: Sequence[str], validations: Mapping[str, Validation], config: LearnConfig
) -> list[Group]:
    """Return the groups that are cheap enough to join: pairs first, then larger ones.

    A larger group is looked at where all its pairs were cheap enough.

    Args:
        datasets: dataset of each class.
        validations: by dataset.
        config: thresholds.
    """
    costs = _Costs(datasets, validations)
    pairs = sorted(_meeting(datasets, validations, config.min_overlap))
    kept = list(costs.affordable(pairs, config))
    groups = list(kept)
    while kept:
        kept = list(costs.affordable(_grown(datasets, [g.members for g in kept], groups), config))
        groups += kept
    return groups


@dataclass
class _Costs:
    datasets: Sequence[str]
    validations: Mapping[str, Validation]

    def __post_init__(self) -> None:
        self.own: dict[int, float] = {}

    def affordable(
        self, candidates: Sequence[tuple[int, ...]], config: LearnConfig
    ) -> Iterator[Group]:
        """Yield the candidates within the limits, with their costs."""
        for members in candidates:
            drops = self.drops(members, limit=config.max_drop)
            limit = config.max_pair_cost if len(members) == PAIR else config.max_group_cost
            if drops is not None and (cost := float(np.mean(drops))) <= limit:
                yield Group(members, cost)

    def drops(self, members: tuple[int, ...], *, limit: float) -> list[float] | None:
        """Return the loss of each member, None where one loses more than the limit."""
        found = []
        for member in members:
            validation = self.validations[self.datasets[member]]
            objects = validation.objects.get(member)
            if objects is None:  # no object, nothing to lose
                found.append(0.0)
                continue
            outputs = [validation.found[m] for m in members if m in validation.found]
            if member not in self.own:
                own = validation.found.get(member)
                self.own[member] = 0.0 if own is None else average_precision(own, objects)
            found.append(self.own[member] - average_precision(merged(outputs), objects))
            if found[-1] > limit:
                return None
        return found


def average_precision(found: Found, objects: Objects, iou: float = IOU) -> float:
    """Return the average precision of one class, 0 where there is no object."""
    count = int((~objects.is_crowd).sum())
    if not count:
        return 0.0
    hit = np.zeros(len(found.scores), bool)
    ignored = np.zeros(len(found.scores), bool)
    for image, rows in found.by_image.items():
        truth = objects.by_image.get(image)
        if truth is not None:
            hit[rows], ignored[rows] = _matched(
                found.boxes[rows], objects.boxes[truth], objects.is_crowd[truth], iou
            )
    if objects.is_known is not None:
        ignored |= ~hit & ~objects.is_known[found.images]
    order = np.argsort(-found.scores, kind="stable")
    order = order[~ignored[order]]
    right = np.cumsum(hit[order])
    precision = right / np.arange(1, len(order) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / count, RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(places, len(order))].mean())


def merged(outputs: Sequence[Found]) -> Found:
    """Return the detections of several outputs as those of one: together, after NMS."""
    if len(outputs) == 1:
        return outputs[0]
    images = np.concatenate([np.zeros(0, np.int64), *(one.images for one in outputs)])
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in outputs)])
    scores = np.concatenate([np.zeros(0), *(one.scores for one in outputs)])
    together = Found(images, boxes, scores)
    keep = [rows[_survivors(boxes[rows])] for rows in together.by_image.values()]
    kept = np.concatenate([np.zeros(0, np.int64), *keep])
    return Found(images[kept], boxes[kept], scores[kept])


def _survivors(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (D,) True for boxes, best first, that no better one overlaps."""
    keep = np.ones(len(boxes), bool)
    if len(boxes) > 1:
        near = _iou(boxes, boxes) > IOU
        for row in range(len(boxes)):
            if keep[row]:
                keep[row + 1 :] &= ~near[row, row + 1 :]
    return keep


def _matched(
    boxes: NDArray[np.float64],
    truth: NDArray[np.float64],
    is_crowd: NDArray[np.bool_],
    iou: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (D,) which detections of an image are right, and which lie in crowds."""
    overlap = _iou(boxes, truth, is_crowd)
    hit, ignored = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool)
    free = ~is_crowd
    for row in np.flatnonzero(overlap.max(axis=1) >= iou):
        values = np.where(free, overlap[row], -1)
        best = int(values.argmax())
        if values[best] >= iou:
            hit[row], free[best] = True, False
        else:
            ignored[row] = bool((overlap[row][is_crowd] >= iou).any())
    return hit, ignored


def _meeting(
    datasets: Sequence[str], validations: Mapping[str, Validation], min_overlap: float
) -> Iterator[tuple[int, ...]]:
    """Yield pairs of classes of different datasets, one of which finds objects of the other."""
    if min_overlap <= 0:
        everything = combinations(range(len(datasets)), PAIR)
        yield from ((one, two) for one, two in everything if datasets[one] != datasets[two])
        return
    seen: set[tuple[int, ...]] = set()
    for dataset, validation in validations.items():
        for other, hits in _hits(dataset, datasets, validation).items():
            for own, count in hits.items():
                if count >= min_overlap * len(validation.objects[own].images):
                    seen.add((min(own, other), max(own, other)))
    yield from seen


def _hits(
    dataset: str, datasets: Sequence[str], validation: Validation
) -> dict[int, dict[int, int]]:
    """Return foreign class -> own class -> how many objects the foreign output finds."""
    places: dict[int, list[tuple[int, NDArray[np.int64]]]] = defaultdict(list)
    for own, objects in validation.objects.items():
        for image, rows in objects.by_image.items():
            places[image].append((own, rows))
    hits: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for other, found in validation.found.items():
        if datasets[other] == dataset:
            continue
        for image, rows in found.by_image.items():
            if image not in places:
                continue
            truth = np.concatenate(
                [validation.objects[own].boxes[part] for own, part in places[image]]
            )
            touched = (_iou(found.boxes[rows], truth) >= IOU).any(axis=0)
            owners = np.repeat(
                [own for own, _ in places[image]], [len(p) for _, p in places[image]]
            )
            for own in owners[touched].tolist():
                hits[other][own] += 1
    return hits


def _grown(
    datasets: Sequence[str], members: Sequence[tuple[int, ...]], groups: Sequence[Group]
) -> list[tuple[int, ...]]:
    """Return the groups that have one class more and whose pairs are all affordable."""
    near: dict[int, set[int]] = defaultdict(set)
    for group in groups:
        if len(group.members) == PAIR:
            one, two = group.members
            near[one].add(two)
            near[two].add(one)
    grown = set()
    for group_members in members:
        used = {datasets[member] for member in group_members}
        for more in set.intersection(*(near[member] for member in group_members)):
            if datasets[more] not in used:
                grown.add(tuple(sorted((*group_members, more))))
    return sorted(grown)


def _rows_by_image(
    images: NDArray[np.int64], order: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    order = order[np.argsort(images[order], kind="stable")]
    values, starts = np.unique(images[order], return_index=True)
    return (
        dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}
    )


def _iou(
    boxes: NDArray[np.float64],
    others: NDArray[np.float64],
    is_crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return (D, N) intersection over union; over the box alone where the other is a crowd."""
    crowds = np.zeros(len(others), bool) if is_crowd is None else is_crowd
    return np.asarray(coco_mask.iou(boxes, others, crowds.astype(np.uint8)))
