"""Is one model better than another, or is it the images? A paired bootstrap over images.

The validation images are drawn again, with replacement, as often as there are; both models are
measured on the same draw, so that easy and hard images strike both alike. The middle of many such
differences is an interval for the difference. It speaks of other images of the same kind, not of
other trainings: a second seed of the same recipe may differ by more.

Shapes: B draws, I images, K classes, T IoU thresholds.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.errors import DataError
from damo_yolo.evaluation.matches import Matches

MAX_NUMBERS = 1 << 24
"""Numbers of one array of the draws that are made at a time."""

Verdict = Literal["better", "worse", "no difference shown"]


class BootstrapConfig(Config):
    """How often images are drawn again."""

    num_draws: int = Field(default=1000, ge=100)
    """Sets of images: the interval's ends are sure to about a thirtieth of its length at 1000."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Share of the differences that the interval holds: near 1 it says little."""
    seed: int = 0


class Difference(Config):
    """One figure of two models, A minus B."""

    a: float
    b: float
    difference: float
    low: float
    """Lower end of the interval of the difference."""
    high: float
    verdict: Verdict
    """Of A against B: the interval lies above 0, below 0, or holds 0."""


class ClassDifference(Difference):
    """AP of one class."""

    class_id: int


class Comparison(Config):
    """Two models on the same images."""

    ap: Difference
    ap50: Difference
    per_class: tuple[ClassDifference, ...]
    """AP of the classes that have objects, by id."""
    num_images: int
    num_draws: int
    confidence: float


def compare(a: Matches, b: Matches, config: BootstrapConfig | None = None) -> Comparison:
    """Return how much better A is than B, and between which bounds.

    Args:
        a: what became of one model's detections.
        b: of the other's, on the same images.
        config: how often images are drawn again.

    Raises:
        DataError: the images are not the same, or hold no object.
    """
    config = config or BootstrapConfig()
    _check_same_images(a, b)
    num_images = len(a.keys)
    plain = np.ones((1, num_images), np.int32)
    rng = np.random.default_rng(config.seed)
    draws = rng.multinomial(
        num_images, np.full(num_images, 1 / num_images), config.num_draws
    ).astype(np.int32)
    points = [_figures(matches.average_precision(plain))[0] for matches in (a, b)]
    drawn = _figures(_drawn(a, draws)) - _figures(_drawn(b, draws))  # (B, 2 + K)
    found = [
        _difference(float(one), float(other), drawn[:, i], confidence=config.confidence)
        for i, (one, other) in enumerate(zip(*points, strict=True))
    ]
    class_ids = [class_id for class_id, _ in a.by_class()]
    return Comparison(
        ap=found[0],
        ap50=found[1],
        per_class=tuple(
            ClassDifference(class_id=class_id, **item.model_dump())
            for class_id, item in zip(class_ids, found[2:], strict=True)
        ),
        num_images=num_images,
        num_draws=config.num_draws,
        confidence=config.confidence,
    )


def _check_same_images(a: Matches, b: Matches) -> None:
    same = a.keys == b.keys and np.array_equal(a.object_class, b.object_class)
    if not same:
        raise DataError(
            f"the two models were measured on different images ({len(a.keys)} and {len(b.keys)})",
            fix="evaluate both on the same shards",
        )
    if not len(a.object_class):
        raise DataError("the images hold no object", fix="compare on images with annotations")


def _drawn(matches: Matches, draws: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (B, K, T) AP, some draws at a time so that memory stays bounded."""
    largest = max(1, *(part.stop - part.start for _, part in matches.by_class()))
    step = max(1, MAX_NUMBERS // largest)
    parts = [
        matches.average_precision(draws[start : start + step])
        for start in range(0, len(draws), step)
    ]
    return np.concatenate(parts)


def _figures(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (B, 2 + K) AP, AP50 and AP of each class, from (B, K, T)."""
    ap = np.nanmean(table, axis=(1, 2))
    ap50 = np.nanmean(table[:, :, 0], axis=1)
    return np.column_stack((ap, ap50, table.mean(axis=2)))


def _difference(a: float, b: float, drawn: NDArray[np.float64], *, confidence: float) -> Difference:
    outside = (1 - confidence) / 2
    low, high = np.nanquantile(drawn, (outside, 1 - outside)).tolist()
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return Difference(a=a, b=b, difference=a - b, low=low, high=high, verdict=verdict)
