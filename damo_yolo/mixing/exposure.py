"""What a balance setting does to the mixture: shares, class exposure, coverage, repeats.

Shapes: N images.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from damo_yolo.config import Config
from damo_yolo.datasets.catalog import Sampling
from damo_yolo.errors import ConfigError
from damo_yolo.mixing.balance import (
    BalanceConfig,
    ImageClasses,
    class_aware_weights,
    smooth_sizes,
    smoothed_draws,
)
from damo_yolo.mixing.plan import never_drawn, rounded_up

PREVIEW_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


class DatasetShare(Config):
    """A dataset's part of an epoch."""

    images: int
    sampling: Sampling
    share_before: float
    """Part of all images, 0..1."""
    share_after: float
    """Part of all draws, 0..1."""
    largest_draws: float
    """Mean draws an epoch of its most drawn image."""


class ClassExposure(Config):
    """How many samples of an epoch hold a class."""

    class_id: int
    before: float
    """When every image is drawn equally often."""
    after: float


class PowerPreview(Config):
    """What a smoothing power would do."""

    size_power: float
    shares: dict[str, float]
    unique_coverage: float
    largest_draws: float


class Exposure(Config):
    """An epoch before and after balancing."""

    num_images: int
    draws_per_epoch: int
    global_batch: int
    config: BalanceConfig
    unique_coverage: float
    """Part of the images that an epoch draws at least once, on average."""
    never_drawn: int
    """Images that no epoch draws: without boxes at `empty_share` 0, or rarer than once in 7168
    epochs."""
    datasets: dict[str, DatasetShare]
    classes: tuple[ClassExposure, ...]
    """Classes that the records hold, by id."""
    powers: tuple[PowerPreview, ...]


def expose(
    classes: ImageClasses,
    sampling: Mapping[str, Sampling],
    config: BalanceConfig,
    *,
    global_batch: int,
) -> tuple[NDArray[np.float64], Exposure]:
    """Return (N,) expected draws and what they do to the mixture.

    Args:
        classes: what each image holds.
        sampling: class-aware weights of each dataset; a dataset it does not name has none.
        config: smoothing and details of the weights; its own `sampling` goes first.
        global_batch: an epoch is a multiple of it.

    Raises:
        ConfigError: the global batch is below 1, or the config names an unknown dataset.
    """
    if global_batch < 1:
        raise ConfigError(f"a global batch of {global_batch} is empty", fix="use 1 or more")
    sampling = {**sampling, **config.sampling}
    draws_per_epoch = rounded_up(config.draws_per_epoch or len(classes), global_batch)
    weights = class_aware_weights(classes, sampling, config)
    expected = smoothed_draws(classes, weights, config, draws_per_epoch=draws_per_epoch)
    exposure = Exposure(
        num_images=len(classes),
        draws_per_epoch=draws_per_epoch,
        global_batch=global_batch,
        config=config,
        unique_coverage=_coverage(expected),
        never_drawn=int(np.count_nonzero(never_drawn(expected))),
        datasets=_dataset_shares(classes, sampling, expected),
        classes=_class_exposure(classes, expected),
        powers=_powers(classes, weights, config, draws_per_epoch=draws_per_epoch),
    )
    return expected, exposure


def _powers(
    classes: ImageClasses,
    weights: NDArray[np.float64],
    config: BalanceConfig,
    *,
    draws_per_epoch: int,
) -> tuple[PowerPreview, ...]:
    """Return what each power would do to (N,) weights within the datasets."""
    previews = []
    for power in sorted({*PREVIEW_POWERS, config.size_power}):
        other = config.model_copy(update={"size_power": power})
        expected = smoothed_draws(classes, weights, other, draws_per_epoch=draws_per_epoch)
        previews.append(
            PowerPreview(
                size_power=power,
                shares=smooth_sizes(classes.sizes, other),
                unique_coverage=_coverage(expected),
                largest_draws=float(expected.max()),
            )
        )
    return tuple(previews)


def _coverage(expected: NDArray[np.float64]) -> float:
    """An image is drawn at least once in min(1, expected draws) of all epochs."""
    return float(np.minimum(expected, 1.0).mean())


def _dataset_shares(
    classes: ImageClasses, sampling: Mapping[str, Sampling], expected: NDArray[np.float64]
) -> dict[str, DatasetShare]:
    draws = np.bincount(classes.dataset, weights=expected)
    largest = np.zeros(len(draws))
    np.maximum.at(largest, classes.dataset, expected)
    return {
        name: DatasetShare(
            images=images,
            sampling=sampling.get(name, "none"),
            share_before=images / len(classes),
            share_after=float(draws[code] / expected.sum()),
            largest_draws=float(largest[code]),
        )
        for code, (name, images) in enumerate(classes.sizes.items())
    }


def _class_exposure(
    classes: ImageClasses, expected: NDArray[np.float64]
) -> tuple[ClassExposure, ...]:
    even = np.full(len(classes), expected.sum() / len(classes))
    before, after = classes.exposure(even), classes.exposure(expected)
    return tuple(
        ClassExposure(class_id=int(i), before=float(before[i]), after=float(after[i]))
        for i in np.flatnonzero(before)
    )
