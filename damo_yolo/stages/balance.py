"""Balance merged records: how often each image is drawn in an epoch."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
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
from damo_yolo.mixing.plan import SamplePlan, rounded_up

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
    """Mean part of all images that an epoch draws at least once, 0..1."""
    largest_draws: float
    """Mean draws an epoch of the most drawn image."""


class BalanceResult(Config):
    """Content of `plan.json`."""

    num_images: int
    draws_per_epoch: int
    global_batch: int
    config: BalanceConfig
    unique_coverage: float
    """Mean part of all images that an epoch draws at least once, 0..1."""
    datasets: dict[str, DatasetShare]
    classes: tuple[ClassExposure, ...]
    """Classes that the records hold, by id."""
    powers: tuple[PowerPreview, ...]
    plan_sha256: str


def balance(
    records_uri: str,
    plan_uri: str,
    *,
    config: BalanceConfig,
    global_batch: int,
) -> BalanceResult:
    """Write the sample plan of merged records: `plan.parquet` and, as the result, `plan.json`.

    Args:
        records_uri: folder that merge wrote.
        plan_uri: folder for the plan.
        config: smoothing power and class-aware weights; goes before the catalog's choice.
        global_batch: an epoch is a multiple of it.

    Raises:
        ConfigError: the global batch is below 1, or the config names an unknown dataset.
        DataError: the records hold no image to train on.
    """
    if global_batch < 1:
        raise ConfigError(f"a global batch of {global_batch} is empty", fix="use 1 or more")
    classes = ImageClasses.read(storage.join(records_uri, "train.parquet"))
    sampling = {**_catalog_sampling(records_uri), **config.sampling}
    draws_per_epoch = rounded_up(config.draws_per_epoch or len(classes), global_batch)
    weights = class_aware_weights(classes, sampling, config)
    expected = smoothed_draws(classes, weights, config, draws_per_epoch=draws_per_epoch)
    plan = SamplePlan(classes.keys, classes.dataset_strings, expected)
    location = plan.write(plan_uri)
    result = BalanceResult(
        num_images=len(classes),
        draws_per_epoch=draws_per_epoch,
        global_batch=global_batch,
        config=config,
        unique_coverage=_coverage(expected),
        datasets=_dataset_shares(classes, sampling, expected),
        classes=_class_exposure(classes, expected),
        powers=preview_powers(classes, weights, config, draws_per_epoch=draws_per_epoch),
        plan_sha256=storage.sha256(location),
    )
    storage.write_text(storage.join(plan_uri, "plan.json"), result.model_dump_json(indent=2))
    return result


def preview_powers(
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


def _catalog_sampling(records_uri: str) -> dict[str, Sampling]:
    values: dict[str, Any] = json.loads(
        storage.read_text(storage.join(records_uri, "datasets.json"))
    )
    return {name: facts["sampling"] for name, facts in values["datasets"].items()}


def _coverage(expected: NDArray[np.float64]) -> float:
    """An image is drawn at least once in min(1, expected draws) of all epochs."""
    return float(np.minimum(expected, 1.0).mean())


def _dataset_shares(
    classes: ImageClasses, sampling: dict[str, Sampling], expected: NDArray[np.float64]
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
