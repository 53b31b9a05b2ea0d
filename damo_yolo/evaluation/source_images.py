"""Training images of every source, and what a model finds in them, for the ranking of sources.

Shapes: K classes.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.sources import SourceConfig, SourceImages
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.detect import DetectConfig, detect
from damo_yolo.inference.images import read_image, to_network_input
from damo_yolo.mixing.plan import SamplePlan
from damo_yolo.samples import Detections
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import RawSample, ShardReader


def look_at_sources(
    backend: Backend,
    *,
    shards_uri: str,
    plan_uri: str,
    detect_config: DetectConfig,
    config: SourceConfig,
) -> tuple[dict[str, SourceImages], list[Detections]]:
    """Return the chosen training images of every source and the model's detections there.

    Draws of a class are estimated from the chosen images: exact where all are chosen.

    Raises:
        DataError: shards or plan are missing or broken.
    """
    manifest = Manifest.load(storage.join(shards_uri, "train"))
    plan = SamplePlan.read(plan_uri)
    rng = np.random.default_rng(config.seed)
    num_classes = len(backend.class_names)
    sources: dict[str, SourceImages] = {}
    detections: list[Detections] = []
    with ShardReader(manifest) as reader:
        for name in sorted(pc.unique(manifest.datasets).to_pylist()):
            rows = np.flatnonzero(pc.equal(manifest.datasets, name))
            count = min(len(rows), config.max_images)
            truths = []
            for raw in reader.stream(np.sort(rng.choice(rows, count, replace=False))):
                detections.append(_find(backend, raw, detect_config))
                truths.append(_truth(raw, num_classes))
            draws = _draws(truths, plan, num_classes) * len(rows) / count
            sources[name] = SourceImages(truths, draws)
    return sources, detections


def _draws(truths: list[ImageTruth], plan: SamplePlan, num_classes: int) -> NDArray[np.float64]:
    """Return (K + 1,) expected draws of these images with each class, and, last, of all."""
    keys = pa.array([truth.key for truth in truths], pa.string())
    places = pc.index_in(keys, value_set=plan.keys)  # null: an image that is never drawn
    draws = np.zeros(num_classes + 1)
    for truth, place in zip(truths, places.to_pylist(), strict=True):
        if place is not None:
            present = np.unique(truth.class_ids[~truth.is_crowd])
            draws[[*present.tolist(), num_classes]] += plan.expected_draws[place]
    return draws


def _find(backend: Backend, raw: RawSample, config: DetectConfig) -> Detections:
    pixels = read_image(raw.image)
    height, width = pixels.shape[:2]
    images = to_network_input(pixels, backend.image_size)[np.newaxis]
    sizes = ((width, height),)
    return detect(backend, images, config, keys=(raw.key,), original_sizes=sizes)[0]


def _truth(raw: RawSample, num_classes: int) -> ImageTruth:
    """Return the annotations; which classes are known plays no part in agreement."""
    known = np.ones(num_classes, np.bool_)
    return ImageTruth(raw.key, raw.dataset, raw.boxes, raw.class_ids, raw.is_crowd, known)
