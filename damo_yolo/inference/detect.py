"""One batch of images through a backend: scores and boxes become detections."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.inference.backend import Backend, GraphBackend
from damo_yolo.inference.images import to_network_input
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
    return run_and_detect(
        backend, images, config, keys=keys, original_sizes=original_sizes
    ).detections


class Found(NamedTuple):
    """What a backend gave for a batch."""

    scores: NDArray[np.float32] | None
    """(B, A, C) after the sigmoid; None where the graph keeps them to itself."""
    boxes: NDArray[np.float32] | None
    """(B, A, 4) xyxy pixels of the network input; None likewise."""
    detections: list[Detections]


def run_and_detect(
    backend: Backend,
    images: NDArray[Any],
    config: DetectConfig,
    *,
    keys: Sequence[str],
    original_sizes: Sequence[tuple[int, int]],
) -> Found:
    """Return what `detect` returns, and the outputs it comes from; see there."""
    size = backend.image_size
    if backend.info.is_complete:
        assert isinstance(backend, GraphBackend)
        taken = _as_stored(images) if backend.info.preprocess else images.astype(np.float32)
        values = backend.named(taken)
        found = _select_named(
            values,
            config,
            keys=keys,
            original_sizes=original_sizes,
            sizes=[(size, size)] * len(keys),
        )
        return Found(None, None, found)
    scores, boxes = backend(images)
    found = select(scores, boxes, config, keys=keys, original_sizes=original_sizes, size=size)
    return Found(scores, boxes, found)


def detect_image(
    backend: Backend, pixels: NDArray[np.uint8], config: DetectConfig, *, key: str = ""
) -> Detections:
    """Return the objects of one (H, W, 3) RGB image, whatever the graph holds."""
    size = (pixels.shape[1], pixels.shape[0])
    if backend.info.preprocess:
        assert isinstance(backend, GraphBackend)
        values = backend.named(np.ascontiguousarray(pixels[np.newaxis, ..., ::-1]))
        (found,) = _select_named(values, config, keys=(key,), original_sizes=(size,), sizes=(size,))
        return found
    images = to_network_input(pixels, backend.image_size)[np.newaxis]
    (found,) = detect(backend, images, config, keys=(key,), original_sizes=(size,))
    return found


def _as_stored(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (B, H, W, 3) BGR from (B, 3, H, W) RGB."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)[..., ::-1], dtype=np.uint8)


def _select_named(
    values: Mapping[str, NDArray[Any]],
    config: DetectConfig,
    *,
    keys: Sequence[str],
    original_sizes: Sequence[tuple[int, int]],
    sizes: Sequence[tuple[int, int]],
) -> list[Detections]:
    """Return detections from the outputs of a graph; `sizes` are what its boxes refer to.

    The thresholds inside a graph stay: a lower one asked for finds no more.
    """
    if "labels" not in values:
        per_image = zip(values["scores"], values["boxes"], keys, original_sizes, sizes, strict=True)
        return [
            select(
                score[None],
                box[None] / np.array([w, h, w, h], np.float32),
                config,
                keys=(key,),
                original_sizes=(original,),
                size=1,
            )[0]
            for score, box, key, original, (w, h) in per_image
        ]
    found = []
    for index, key in enumerate(keys):
        scores, labels = values["scores"][index], values["labels"][index].astype(np.int64)
        kept = np.flatnonzero((labels >= 0) & (scores > config.score_threshold))
        kept = kept[: config.max_detections]
        ratio = np.array(original_sizes[index], np.float32) / np.array(sizes[index], np.float32)
        boxes = values["boxes"][index][kept] * np.tile(ratio, 2)
        found.append(Detections(key, boxes, scores[kept], labels[kept]))
    return found


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
