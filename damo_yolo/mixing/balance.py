"""From dataset sizes and class frequencies to how often each image is drawn.

Expected draws of image I of dataset d in an epoch of E draws:

    e(I) = E * n_d^g / sum over datasets of n^g * w(I) / sum over d of w

with n_d images in d, g the smoothing power (DAMO-YOLO, section 2.5), and w chosen per dataset.

Shapes: N images, D datasets, C classes, P pairs of an image and a class that it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.datasets.catalog import Sampling
from damo_yolo.datasets.records import read_batches
from damo_yolo.errors import ConfigError, DataError

Floats = NDArray[np.float64]


class BalanceConfig(Config):
    """How dataset sizes and class frequencies become sampling weights."""

    size_power: float = Field(default=0.5, ge=0.0, le=1.0)
    """A dataset weighs size ** size_power: 1 keeps raw sizes, 0 makes all equal."""
    empty_share: float = Field(default=0.01, ge=0.0, le=1.0)
    """Part of a dataset's draws that its images without boxes share, though never more than their
    part of its images: 0 never draws them, 1 draws them as often as the average image."""
    repeat_threshold: float = Field(default=0.001, gt=0.0, le=1.0)
    """Repeat-factor sampling repeats classes that are in a smaller part of the images than this;
    1 weighs every class by the inverse root of its frequency."""
    sampling: dict[str, Sampling] = Field(default_factory=dict)
    """Per dataset, instead of what the catalog says: none, inverse_frequency, repeat_factor."""
    draws_per_epoch: int | None = Field(default=None, ge=1)
    """Rounded up to a multiple of the global batch; None: the number of images."""


@dataclass(frozen=True, eq=False)
class ImageClasses:
    """Which classes each image holds. Crowd regions do not count: nothing is trained on them."""

    keys: pa.StringArray
    """(N,) image keys."""
    dataset_names: tuple[str, ...]
    """(D,) in the order of their first image."""
    dataset: NDArray[np.int32]
    """(N,) index into `dataset_names`."""
    pair_image: NDArray[np.int32]
    """(P,) row of an image, ascending."""
    pair_class: NDArray[np.int32]
    """(P,) unified id of a class it holds; every pair comes once."""

    def __len__(self) -> int:
        return len(self.dataset)

    @classmethod
    def read(cls, records_uri: str) -> Self:
        """Collect the classes of a Parquet file of records, batch by batch.

        Raises:
            StorageError: nothing is at the location.
            DataError: it is not a file of records, or holds none.
        """
        keys, datasets, images, classes = [], [], [], []
        first = 0
        for batch in read_batches(records_uri, ["key", "dataset", "class_ids", "is_crowd"]):
            keys.append(batch["key"])
            datasets.append(batch["dataset"])
            image, class_ids = _distinct_pairs(batch)
            images.append(image + np.int32(first))
            classes.append(class_ids)
            first += batch.num_rows
        if not first:
            raise DataError(
                f"{records_uri} holds no image to train on",
                fix="give a dataset of the catalog a train split, and merge again",
            )
        coded = pa.chunked_array(datasets).combine_chunks().dictionary_encode()
        names = tuple(coded.dictionary.to_pylist())
        codes = coded.indices.to_numpy()
        all_keys = pa.chunked_array(keys).combine_chunks()
        return cls(all_keys, names, codes, np.concatenate(images), np.concatenate(classes))

    @property
    def dataset_strings(self) -> pa.StringArray:
        """(N,) dataset name of each image."""
        return pa.array(self.dataset_names, pa.string()).take(pa.array(self.dataset))

    @property
    def sizes(self) -> dict[str, int]:
        """Images of each dataset."""
        counts = np.bincount(self.dataset, minlength=len(self.dataset_names)).tolist()
        return dict(zip(self.dataset_names, counts, strict=True))

    @property
    def has_boxes(self) -> NDArray[np.bool_]:
        """(N,) True where there is something to train on."""
        return np.bincount(self.pair_image, minlength=len(self)) > 0

    def exposure(self, expected: Floats) -> Floats:
        """Return (C,) samples of an epoch that hold each class, from (N,) expected draws."""
        counts = np.bincount(self.pair_class, weights=expected[self.pair_image])
        return counts.astype(np.float64, copy=False)


def smooth_sizes(sizes: Mapping[str, int], config: BalanceConfig) -> dict[str, float]:
    """Return each dataset's share of all draws; they add up to 1. A dataset of size 0 has none."""
    weights = {
        name: float(size) ** config.size_power if size else 0.0 for name, size in sizes.items()
    }
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def expected_draws(
    classes: ImageClasses,
    sampling: Mapping[str, Sampling],
    config: BalanceConfig,
    *,
    draws_per_epoch: int,
) -> Floats:
    """Return (N,) mean draws of each image in an epoch; they add up to `draws_per_epoch`.

    Args:
        classes: what each image holds.
        sampling: class-aware weights of each dataset; a dataset it does not name has none.
        config: smoothing and details of the weights; its own `sampling` goes first.
        draws_per_epoch: E.

    Raises:
        ConfigError: `config.sampling` names a dataset that is not there.
    """
    weights = class_aware_weights(classes, sampling, config)
    return smoothed_draws(classes, weights, config, draws_per_epoch=draws_per_epoch)


def smoothed_draws(
    classes: ImageClasses, weights: Floats, config: BalanceConfig, *, draws_per_epoch: int
) -> Floats:
    """Return (N,) mean draws from (N,) weights that add up to 1 within each dataset."""
    shares = smooth_sizes(classes.sizes, config)
    per_dataset = np.array([shares[name] for name in classes.dataset_names])  # (D,)
    return draws_per_epoch * per_dataset[classes.dataset] * weights


def class_aware_weights(
    classes: ImageClasses, sampling: Mapping[str, Sampling], config: BalanceConfig
) -> Floats:
    """Return (N,) part of its dataset's draws that each image has; raises as `expected_draws`."""
    unknown = sorted(set(config.sampling) - set(classes.dataset_names))
    if unknown:
        raise ConfigError(
            f"sampling names a dataset that has no training images: {', '.join(unknown)}",
            fix=f"use one of: {', '.join(classes.dataset_names)}",
        )
    has_boxes = classes.has_boxes
    weights = np.zeros(len(classes))
    for code, name in enumerate(classes.dataset_names):
        how = config.sampling.get(name, sampling.get(name, "none"))
        rows = np.flatnonzero(classes.dataset == code)
        weights[rows] = _weights_within(classes, rows, has_boxes[rows], how=how, config=config)
    return weights


def inverse_frequency(
    image: NDArray[np.integer[Any]], class_ids: NDArray[np.integer[Any]], num_images: int
) -> Floats:
    """Return (num_images,) sums over an image's distinct classes of 1 / (images with the class).

    UniDet's class-aware sampling, before it is normalised. `image` and `class_ids` are (P,).
    """
    images_with = np.bincount(class_ids)  # (C,)
    sums = np.bincount(image, weights=1.0 / images_with[class_ids], minlength=num_images)
    return sums.astype(np.float64, copy=False)


def repeat_factor(
    image: NDArray[np.integer[Any]],
    class_ids: NDArray[np.integer[Any]],
    num_images: int,
    *,
    threshold: float,
) -> Floats:
    """Return (num_images,) repeat factors, 1 or more: that of an image's rarest class.

    LVIS: max(1, sqrt(threshold / frequency)), frequency the part of the images with the class.
    """
    frequency = np.bincount(class_ids) / num_images  # (C,)
    factors = np.ones(num_images)
    rarity = np.sqrt(threshold / frequency[class_ids])
    np.maximum.at(factors, image, rarity)
    return factors


def _weights_within(
    classes: ImageClasses,
    rows: NDArray[np.int64],
    has_boxes: NDArray[np.bool_],
    *,
    how: Sampling,
    config: BalanceConfig,
) -> Floats:
    """Return weights of one dataset's `rows`, adding up to 1."""
    empty_share = min(config.empty_share, 1.0 - has_boxes.mean())
    if not has_boxes.any():
        empty_share = 1.0
    weights = np.zeros(len(rows))
    if not has_boxes.all():
        weights[~has_boxes] = empty_share / np.count_nonzero(~has_boxes)
    if has_boxes.any():
        of_boxes = _weights_of_boxes(classes, rows[has_boxes], how=how, config=config)
        weights[has_boxes] = (1.0 - empty_share) * of_boxes / of_boxes.sum()
    return weights


def _weights_of_boxes(
    classes: ImageClasses, rows: NDArray[np.int64], *, how: Sampling, config: BalanceConfig
) -> Floats:
    """Return weights of `rows`, images of one dataset that all have boxes."""
    if how == "none":
        return np.ones(len(rows))
    place = np.full(len(classes), -1, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    image = place[classes.pair_image]
    here = image >= 0
    image, class_ids = image[here], classes.pair_class[here]
    if how == "inverse_frequency":
        return inverse_frequency(image, class_ids, len(rows))
    return repeat_factor(image, class_ids, len(rows), threshold=config.repeat_threshold)


def _distinct_pairs(batch: pa.RecordBatch) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return row and class of each class in each row of a batch, once, crowd regions apart."""
    lengths = batch["class_ids"].value_lengths().to_numpy()
    image = np.repeat(np.arange(batch.num_rows, dtype=np.int64), lengths)
    class_ids = batch["class_ids"].flatten().to_numpy().astype(np.int64)
    single = ~batch["is_crowd"].flatten().to_numpy(zero_copy_only=False).astype(np.bool_)
    packed = np.unique(image[single] << 32 | class_ids[single])
    return (packed >> 32).astype(np.int32), (packed & 0xFFFF_FFFF).astype(np.int32)
