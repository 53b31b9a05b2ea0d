"""Validation batches through one or several backends: detections, each image decoded once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from damo_yolo.inference.backends import Backend
from damo_yolo.inference.detect import DetectConfig, select
from damo_yolo.samples import Batch, Detections


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one backend said of one batch."""

    scores: NDArray[np.float32]
    """(B, A, C) after the sigmoid."""
    boxes: NDArray[np.float32]
    """(B, A, 4) xyxy pixels of the network input."""
    detections: list[Detections]
    """(B,) in pixels of the images as stored."""


def predict(
    backend: Backend, batches: Iterable[Batch], config: DetectConfig | None = None
) -> Iterator[Detections]:
    """Yield the detections of every image, in order.

    Args:
        backend: the detector.
        batches: from `val_batches`.
        config: thresholds; None: the published ones, 500 objects an image.
    """
    for prediction in predict_together({"": backend}, batches, config):
        yield from prediction[""].detections


def predict_together(
    backends: Mapping[str, Backend], batches: Iterable[Batch], config: DetectConfig | None = None
) -> Iterator[dict[str, Prediction]]:
    """Yield, for every batch, what each backend says of it.

    Args:
        backends: name to detector.
        batches: from `val_batches`.
        config: thresholds for all; None: each backend's published ones, 500 objects an image.
    """
    configs = {name: config or DetectConfig.of(backend) for name, backend in backends.items()}
    for batch in batches:
        images = batch.images.numpy()
        predictions = {}
        for name, backend in backends.items():
            scores, boxes = backend(images)
            detections = select(
                scores,
                boxes,
                configs[name],
                keys=batch.keys,
                original_sizes=batch.original_sizes,
                size=backend.image_size,
            )
            predictions[name] = Prediction(scores, boxes, detections)
        yield predictions
