"""Which objects every image shows, decided before a pixel is drawn.

Classes get whole quotas, so a rare class has its objects whatever the seed. Random numbers come
from Philox, keyed by seed and stream and counted by image: any image can be drawn alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.datasets.catalog import SPLITS, Split
from damo_yolo.datasets.sample.classes import CLASSES, VOCABULARIES, DatasetName

TRAIN_IMAGES: dict[DatasetName, int] = {"coco": 64, "objects365": 256, "openimages": 512}
OBJECTS_PER_IMAGE = (0.24, 0.30, 0.23, 0.12, 0.06, 0.03, 0.01, 0.01)
"""Parts of the images that show 1, 2, ... objects."""
FOREIGN_SHARE = 0.2
"""Part of the training objects whose class the dataset does not annotate."""
TAIL_POWER = 0.8
"""A class of frequency rank r weighs r ** -power; 0 makes all classes equally frequent."""
OBJECTS_PER_GROUP = 60
"""One object in so many is a group of touching instances."""

_PLAN_COUNTER = 1 << 40
"""Counter of the plan's own random numbers, beyond that of any image."""


class SampleConfig(Config):
    """What is rendered."""

    seed: int = Field(default=0, ge=0, lt=1 << 63)
    scale: float = Field(default=1.0, gt=0.0, le=64.0)
    """Factor on the numbers of training images, 64, 256 and 512."""
    num_val_images: int = Field(default=40, ge=1, le=4096)
    """Validation images of each dataset."""


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An object to draw."""

    index: int
    """Into CLASSES."""
    is_group: bool


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """An image to draw."""

    dataset: DatasetName
    split: Split
    number: int
    """From 0 within dataset and split."""
    objects: tuple[PlannedObject, ...]


def num_images(config: SampleConfig, dataset: DatasetName, split: Split) -> int:
    """Return how many images a split has; at least one."""
    if split == "val":
        return config.num_val_images
    return max(1, round(TRAIN_IMAGES[dataset] * config.scale))


def plan_images(config: SampleConfig, dataset: DatasetName, split: Split) -> Iterator[PlannedImage]:
    """Yield what every image of a split shows."""
    rng = generator(config.seed, dataset, split, _PLAN_COUNTER)
    count = num_images(config, dataset, split)
    sizes = 1 + np.repeat(
        np.arange(len(OBJECTS_PER_IMAGE)), whole_quotas(np.array(OBJECTS_PER_IMAGE), count)
    )
    total = int(sizes.sum())
    indices = np.repeat(
        np.arange(len(CLASSES)), whole_quotas(_class_weights(dataset, split), total)
    )
    rng.shuffle(sizes)
    rng.shuffle(indices)
    own = [i for i in range(total) if CLASSES[indices[i]].unified_id in VOCABULARIES[dataset]]
    groups = set(own[: max(1, total // OBJECTS_PER_GROUP)])
    order = rng.permutation(total)  # spreads the groups over the images
    objects = [PlannedObject(int(indices[i]), i in groups) for i in order]
    ends = np.cumsum(sizes)
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        yield PlannedImage(dataset, split, number, tuple(objects[end - size : end]))


def generator(seed: int, dataset: DatasetName, split: Split, counter: int) -> np.random.Generator:
    """Return the random numbers of one image: the same in any order, on any process."""
    stream = list(VOCABULARIES).index(dataset) * len(SPLITS) + SPLITS.index(split)
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, counter]))


def whole_quotas(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Share `total` out in whole numbers, within one of proportion (largest remainder).

    >>> whole_quotas(np.array([0.5, 0.3, 0.2]), 8).tolist()
    [4, 2, 2]
    """
    exact = weights / weights.sum() * total
    quotas: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    quotas[by_remainder[: total - int(quotas.sum())]] += 1
    return quotas


def _class_weights(dataset: DatasetName, split: Split) -> NDArray[np.float64]:
    """Return (C,) weights: long-tailed in training, even in validation, where each class counts."""
    if split == "val":
        return np.ones(len(CLASSES))
    rank = {unified_id: r for r, unified_id in enumerate(VOCABULARIES[dataset], start=1)}
    own = np.array([rank.get(item.unified_id, np.inf) ** -TAIL_POWER for item in CLASSES])
    foreign = own == 0
    weights: NDArray[np.float64] = (1 - FOREIGN_SHARE) * own / own.sum()
    weights += FOREIGN_SHARE * foreign / foreign.sum()
    return weights
