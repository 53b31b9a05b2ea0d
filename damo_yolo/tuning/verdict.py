"""Is the best trial better than the default, or was it luck? New seeds, and a paired bootstrap.

The trial that won a sweep was chosen for its score, so this very score flatters it. Both points are
trained again with new seeds, the same for both. Then images and seeds are drawn again, with
replacement; both arms are measured on the same draw, and the middle of the differences is an
interval that holds the chance of images and that of trainings. Few seeds say little of the latter:
with three, the interval is still somewhat too narrow.

Shapes: S seeds, B draws, I images, K classes.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.evaluation.bootstrap import BootstrapConfig, Difference, Verdict
from damo_yolo.evaluation.ground_truth import read_validation_set
from damo_yolo.evaluation.matches import Matches
from damo_yolo.evaluation.predict import predict
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.detect import DetectConfig
from damo_yolo.loading.loader import val_batches

BATCH_SIZE = 8


class SeedComparison(Config):
    """The best trial's values against the default's, over the same new seeds."""

    figure: str
    """What was compared: AP, or AP of rare classes."""
    seeds: tuple[int, ...]
    default: tuple[float, ...]
    """Of the default, by seed."""
    best: tuple[float, ...]
    """Of the best trial's values, by seed."""
    difference: Difference
    """Of the means, best minus default."""
    num_images: int
    confidence: float
    failed: tuple[str, ...] = Field(default=())
    """Trainings that came to no end; their seeds are left out."""


def matches_of(model_uri: str, shards_uri: str) -> Matches:
    """Return what a model finds on the headline validation images."""
    validation = read_validation_set(shards_uri)
    backend = open_backend(model_uri)
    batches = val_batches(
        shards_uri,
        image_size=backend.image_size,
        batch_size=BATCH_SIZE,
        datasets=[validation.headline],
    )
    found = predict(backend, batches, DetectConfig.of(backend))
    truths = validation.of_dataset(validation.headline)
    return Matches.of(found, truths, num_classes=len(validation.class_names))


def compare_seeds(
    pairs: Sequence[tuple[Matches, Matches]],
    *,
    seeds: Sequence[int],
    figure: str = "AP",
    class_ids: Collection[int] | None = None,
    config: BootstrapConfig | None = None,
) -> SeedComparison:
    """Compare two points trained with the same S seeds.

    Args:
        pairs: of each seed, what the best trial's values and what the default found.
        seeds: of the pairs.
        figure: what the classes' AP is called.
        class_ids: AP of these classes; None: of all.
        config: how often images and seeds are drawn again.
    """
    config = config or BootstrapConfig()
    num_images = len(pairs[0][0].keys)
    rng = np.random.default_rng(config.seed)
    share = np.full(num_images, 1 / num_images)
    images = rng.multinomial(num_images, share, config.num_draws).astype(np.int32)
    picked = rng.integers(len(pairs), size=(config.num_draws, len(pairs)))
    plain = np.ones((1, num_images), np.int32)
    own = np.array([[_ap(m, plain, class_ids)[0] for m in pair] for pair in pairs])  # (S, 2)
    drawn = np.array(
        [_ap(a, images, class_ids) - _ap(b, images, class_ids) for a, b in pairs]
    )  # (S, B)
    differences = np.take_along_axis(drawn.T, picked, axis=1).mean(axis=1)  # (B,)
    outside = (1 - config.confidence) / 2
    low, high = np.nanquantile(differences, (outside, 1 - outside)).tolist()
    best, default = own.mean(axis=0).tolist()
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return SeedComparison(
        figure=figure,
        seeds=tuple(seeds),
        default=tuple(own[:, 1].tolist()),
        best=tuple(own[:, 0].tolist()),
        difference=Difference(
            a=best, b=default, difference=best - default, low=low, high=high, verdict=verdict
        ),
        num_images=num_images,
        confidence=config.confidence,
    )


def _ap(
    matches: Matches, draws: NDArray[np.int32], class_ids: Collection[int] | None
) -> NDArray[np.float64]:
    """Return (B,) mean AP over the classes asked for."""
    table = matches.average_precision(draws)  # (B, K, T)
    if class_ids is not None:
        table = table[:, [k in class_ids for k, _ in matches.by_class()]]
    return np.asarray(np.nanmean(table, axis=(1, 2)))
