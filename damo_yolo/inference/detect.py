"""One batch of images through a backend: scores and boxes become detections."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.inference.backends import Backend
from damo_yolo.samples import Detections


class DetectConfig(Config):
    """What counts as a detection."""

    score_threshold: float = Field(ge=0, le=1)
    """Lower scores are dropped: 0 keeps everything, 1 nothing."""
    iou_threshold: float = Field(gt=0, le=1)
    """Of two boxes of one class that overlap more, the better one stays: 1 keeps all."""
    max_detections: int = Field(default=500, ge=1)
    """Kept per image, best first."""

    @classmethod
    def of(cls, backend: Backend, *, max_detections: int = 500) -> "DetectConfig":
        """Return the published thresholds, which the artifact carries."""
        return cls(
            score_threshold=backend.info.score_threshold,
            iou_threshold=backend.info.iou_threshold,
            max_detections=max_detections,
        )


def detect(
    backend: Backend,
    images: NDArray[Any],
    config: DetectConfig,
    *,
    keys: Sequence[str],
    original_sizes: Sequence[tuple[int, int]],
) -> list[Detections]:
    """Return the detections of each image, in pixels of the image as stored.

    Args:
        backend: the detector.
        images: (B, 3, S, S) RGB 0..255.
        config: thresholds.
        keys: (B,) names of the images.
        original_sizes: (B,) width and height of each image as stored.
    """
    scores, boxes = backend(images)
    return select(
        scores, boxes, config, keys=keys, original_sizes=original_sizes, size=backend.image_size
    )


def select(
    scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    config: DetectConfig,
    *,
    keys: Sequence[str],
    original_sizes: Sequence[tuple[int, int]],
    size: int,
) -> list[Detections]:
    """Filter (B, A, C) scores and (B, A, 4) boxes and rescale to the images as stored.

    The network input is the image stretched to `size`, so x and y have their own ratios.
    """
    import torch

    from damo_yolo.models.postprocess import postprocess

    kept = postprocess(
        torch.from_numpy(scores),
        torch.from_numpy(boxes),
        score_threshold=config.score_threshold,
        iou_threshold=config.iou_threshold,
        max_detections=config.max_detections,
    )
    found = []
    for key, (width, height), (xyxy, score, label) in zip(keys, original_sizes, kept, strict=True):
        ratios = np.array([width, height, width, height], np.float32) / np.float32(size)
        found.append(
            Detections(
                key=key,
                boxes=xyxy.numpy() * ratios,
                scores=score.numpy(),
                labels=label.numpy().astype(np.int64),
            )
        )
    return found
