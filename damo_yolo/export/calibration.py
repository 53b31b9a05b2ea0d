"""Which training images the INT8 ranges are measured on."""

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.inference.images import read_image, to_network_input
from damo_yolo.mixing.plan import SamplePlan, keyed_generator
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import ShardReader


def calibration_images(
    shards_uri: str, plan_uri: str | None, *, num_images: int, image_size: int, seed: int = 0
) -> list[NDArray[np.uint8]]:
    """Return training images as the network sees them in use: stretched, without augmentation.

    Args:
        shards_uri: folder that the shard stage wrote.
        plan_uri: folder that the balance stage wrote: images come as often as training draws
            them, so rare classes have their say. None: all images alike.
        num_images: at most so many; an image comes once.
        image_size: side of the input, pixels.
        seed: of the choice.

    Returns:
        (3, S, S) RGB images.
    """
    manifest = Manifest.load(storage.join(shards_uri, "train"))
    weights, rows = np.ones(len(manifest)), np.arange(len(manifest))
    if plan_uri is not None:
        plan, rows = manifest.rows_of_plan(SamplePlan.read(plan_uri))
        weights = plan.expected_draws
    chosen = rows[choose(weights, num_images, seed=seed)]
    with ShardReader(manifest) as reader:
        return [
            to_network_input(read_image(sample.image), image_size)
            for sample in reader.stream(np.sort(chosen))
        ]


def choose(weights: NDArray[np.float64], count: int, *, seed: int) -> NDArray[np.int64]:
    """Return positions drawn by weight, each at most once, in no order.

    Systematic sampling in a random order: a weight of twice the mean is twice as likely.
    """
    if count >= np.count_nonzero(weights):
        return np.flatnonzero(weights)
    generator = keyed_generator(seed)
    order = generator.permutation(len(weights))
    ends = np.cumsum(weights[order])
    marks = (np.arange(count) + generator.random()) * (ends[-1] / count)
    places = np.minimum(np.searchsorted(ends, marks, side="right"), len(weights) - 1)
    return np.unique(order[places])
