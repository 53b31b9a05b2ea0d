"""Which source dataset teaches well: its annotations against what the trained model sees.

A model that learned from several datasets is a witness for each of them. Two questions are asked:

- *Own agreement*: how well does it find what the source annotated in its training images? Boxes
  drawn carelessly, wrong names and invented objects lower it.
- *Taught*: how well does it find, in the trusted validation images, the classes that the source
  taught it? A source that was believed although it was wrong lowers this one.

Their geometric mean ranks the sources. Hard images lower it as well as bad annotations, so the
median offset between found and annotated boxes is given beside: carelessness has no direction, a
shifted dataset has.

Agreement of an object is the IoU with the best detection of its class, 0 where there is none.
Shapes: N objects of an image, D detections, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.boxes import pairwise_iou
from damo_yolo.config import Config
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

MATCHED_IOU = 0.3
"""From it on, a found and an annotated box are one object, when offsets are measured."""


class SourceConfig(Config):
    """How sources are ranked."""

    max_images: int = Field(default=200, ge=1)
    """Training images of each source that are looked at, chosen at random."""
    min_score: float = Field(default=0.1, ge=0, le=1)
    """Detections from it on are the model's opinion."""
    min_objects: int = Field(default=5, ge=1)
    """Classes with fewer objects in a source are not listed: chance would speak."""
    seed: int = 0


class SourceClass(Config):
    """What one source did for one class."""

    source: str
    class_id: int
    draws_share: float
    """Of the draws of images with the class, 0..1."""
    num_objects: int
    """Looked at in its training images."""
    agreement: float
    """With its own annotations."""
    on_headline: float | None
    """Agreement with the trusted images; None: the class is not there."""
    effect: float
    """Share of the draws, times how far both agreements lie on average above the model's mean on
    the trusted images: the lower, the more it hurt."""


class Source(Config):
    """One source against the model."""

    name: str
    score: float
    """Geometric mean of own agreement and taught; the ranking."""
    own_agreement: float
    taught: float
    """Agreement with the trusted images, classes weighed by what the source taught of them."""
    offset_x: float
    """Median of (found - annotated) centre, in widths of the annotated box."""
    offset_y: float
    draws_share: float
    """Of all draws, 0..1."""
    num_images: int
    num_objects: int
    val_ap: float | None
    """AP on its own validation images; None: it has none."""


class SourceRanking(Config):
    """Content of `sources.json`."""

    headline: str
    sources: tuple[Source, ...]
    """Worst first."""
    classes: tuple[SourceClass, ...]
    """Most hurtful first."""


@dataclass(slots=True)
class Agreement:
    """Sums over the objects of some images."""

    iou: NDArray[np.float64]
    """(K,)"""
    count: NDArray[np.int64]
    """(K,)"""
    offsets: list[NDArray[np.float64]] = field(default_factory=list)
    """(N', 2) of each image: objects that were found."""

    @classmethod
    def of(
        cls,
        truths: Iterable[ImageTruth],
        found: Mapping[str, Detections],
        *,
        num_classes: int,
        min_score: float,
    ) -> "Agreement":
        """Compare annotations with detections, crowds left out."""
        sums = cls(np.zeros(num_classes), np.zeros(num_classes, np.int64))
        for truth in truths:
            real = ~truth.is_crowd
            boxes, labels = truth.boxes[real], truth.class_ids[real]
            best, offsets = _best(boxes, labels, found.get(truth.key), min_score)
            np.add.at(sums.iou, labels, best)
            np.add.at(sums.count, labels, 1)
            sums.offsets.append(offsets)
        return sums

    @property
    def mean(self) -> float:
        """Mean over objects; 0 where there is none."""
        return float(self.iou.sum() / max(1, self.count.sum()))

    def of_class(self, class_id: int) -> float:
        """Mean over the objects of a class."""
        return float(self.iou[class_id] / max(1, self.count[class_id]))

    @property
    def offset(self) -> tuple[float, float]:
        """Median offset in widths and heights; 0 where nothing was found."""
        rows = np.concatenate([np.zeros((0, 2)), *self.offsets])
        x, y = np.median(rows, axis=0).tolist() if len(rows) else (0.0, 0.0)
        return x, y


@dataclass(slots=True)
class SourceImages:
    """What is known of one source."""

    truths: Sequence[ImageTruth]
    """Training images that were looked at."""
    draws: NDArray[np.float64]
    """(K + 1,) expected draws an epoch of images with each class, and, last, of all its images."""
    val_ap: float | None = None
    """AP on its own validation images."""


def rank_sources(
    sources: Mapping[str, SourceImages],
    headline: Sequence[ImageTruth],
    detections: Iterable[Detections],
    *,
    num_classes: int,
    headline_name: str,
    config: SourceConfig | None = None,
) -> SourceRanking:
    """Rank the sources by how well the model agrees with them.

    Args:
        sources: by name.
        headline: trusted validation images.
        detections: of all these images.
        num_classes: classes K of the label space.
        headline_name: of the trusted dataset.
        config: how.
    """
    config = config or SourceConfig()
    found = {item.key: item for item in detections}

    def agreement(truths: Sequence[ImageTruth]) -> Agreement:
        return Agreement.of(truths, found, num_classes=num_classes, min_score=config.min_score)

    trusted = agreement(headline)
    total = np.sum([source.draws for source in sources.values()], axis=0)
    rows: list[Source] = []
    classes: list[SourceClass] = []
    for name, source in sources.items():
        own = agreement(source.truths)
        shares = np.divide(source.draws, total, out=np.zeros(num_classes + 1), where=total > 0)
        rows.append(_source(name, source, own, trusted, shares))
        classes += _classes(name, own, trusted, shares, config.min_objects)
    return SourceRanking(
        headline=headline_name,
        sources=tuple(sorted(rows, key=lambda item: (item.score, item.name))),
        classes=tuple(sorted(classes, key=lambda item: (item.effect, item.source, item.class_id))),
    )


def _best(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    found: Detections | None,
    min_score: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (N,) IoU with the best detection of the class, and (N', 2) offsets of the found."""
    import torch  # noqa: PLC0415 - slow to import

    best = np.zeros(len(boxes))
    if found is None or not len(boxes):
        return best, np.zeros((0, 2))
    opinion = found.scores >= min_score
    others, other_labels = found.boxes[opinion], found.labels[opinion]
    if not len(others):
        return best, np.zeros((0, 2))
    iou = pairwise_iou(torch.from_numpy(boxes), torch.from_numpy(others)).numpy()
    iou = np.where(labels[:, np.newaxis] == other_labels, iou, 0.0)  # (N, D)
    nearest = iou.argmax(axis=1)
    best = iou.max(axis=1).astype(np.float64)
    seen = best >= MATCHED_IOU
    annotated, matched = boxes[seen].astype(np.float64), others[nearest[seen]].astype(np.float64)
    sides = annotated[:, 2:] - annotated[:, :2]
    centres = (matched[:, :2] + matched[:, 2:] - annotated[:, :2] - annotated[:, 2:]) / 2
    return best, centres / np.maximum(sides, 1.0)


def _source(
    name: str,
    source: SourceImages,
    own: Agreement,
    trusted: Agreement,
    shares: NDArray[np.float64],
) -> Source:
    classes = np.flatnonzero((trusted.count > 0) & (shares[:-1] > 0))
    weights = shares[classes] * trusted.count[classes]
    per_class = trusted.iou[classes] / trusted.count[classes]
    taught = float(np.average(per_class, weights=weights)) if len(classes) else 0.0
    offset_x, offset_y = own.offset
    return Source(
        name=name,
        score=float(np.sqrt(own.mean * taught)),
        own_agreement=own.mean,
        taught=taught,
        offset_x=offset_x,
        offset_y=offset_y,
        draws_share=float(shares[-1]),
        num_images=len(source.truths),
        num_objects=int(own.count.sum()),
        val_ap=source.val_ap,
    )


def _classes(
    name: str,
    own: Agreement,
    trusted: Agreement,
    shares: NDArray[np.float64],
    min_objects: int,
) -> list[SourceClass]:
    rows = []
    for class_id in np.flatnonzero(own.count >= min_objects).tolist():
        agreement = own.of_class(class_id)
        on_headline = trusted.of_class(class_id) if trusted.count[class_id] else None
        quality = agreement if on_headline is None else (agreement + on_headline) / 2
        rows.append(
            SourceClass(
                source=name,
                class_id=class_id,
                draws_share=float(shares[class_id]),
                num_objects=int(own.count[class_id]),
                agreement=agreement,
                on_headline=on_headline,
                effect=float(shares[class_id] * (quality - trusted.mean)),
            )
        )
    return rows
