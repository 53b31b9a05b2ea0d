"""What every backend is: images in, scores and boxes out.

Shapes: B images, S side of the input, A anchor points, C classes.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo.errors import DataError
from damo_yolo.inference.info import DetectorInfo

Images = NDArray[np.uint8] | NDArray[np.float32]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]

INPUT_NAME = "images"
OUTPUT_NAMES = ("scores", "boxes")


class Backend(ABC):
    """A detector that runs."""

    def __init__(self, info: DetectorInfo, *, max_batch: int | None = None) -> None:
        """Keep what the artifact says of itself; `max_batch` None: any number at once."""
        self.info = info
        self.max_batch = max_batch

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return self.info.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class id."""
        return self.info.class_names

    def __call__(self, images: Images) -> Outputs:
        """Run the detector.

        Args:
            images: (B, 3, S, S) RGB 0..255.

        Returns:
            (B, A, C) scores after sigmoid and (B, A, 4) boxes, xyxy in pixels of the input.

        Raises:
            DataError: the images do not have the input's shape.
        """
        size = self.image_size
        if images.shape[1:] != (3, size, size) or not len(images):
            raise DataError(
                f"the images have shape {images.shape}, the detector takes (B, 3, {size}, {size})",
                fix=f"resize them to {size} x {size} px and put the colours first",
            )
        if self.info.is_complete:
            raise DataError(
                f"this {self.info.model} holds its pre- or post-processing and gives no raw scores",
                fix="use `damo-yolo predict`, or export it without --preprocess and --nms",
            )
        values = np.ascontiguousarray(images, dtype=np.float32)
        step = self.max_batch or len(values)
        parts = [self._run(values[i : i + step]) for i in range(0, len(values), step)]
        scores, boxes = (
            np.concatenate(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True)
        )
        return scores, boxes

    @abstractmethod
    def _run(self, images: NDArray[np.float32]) -> Outputs:
        """Run at most `max_batch` images."""


class GraphBackend(Backend):
    """A detector from a file, whose graph may hold pre- and post-processing."""

    def named(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the graph on what it takes and return its outputs by name.

        Args:
            images: with `info.preprocess` (B, H, W, 3) uint8 BGR, else (B, 3, S, S) float32 RGB.
        """
        step = self.max_batch or len(images)
        parts = [self._values(images[i : i + step]) for i in range(0, len(images), step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, images: NDArray[np.float32]) -> Outputs:
        values = self._values(images)
        scores, boxes = (values[name] for name in OUTPUT_NAMES)
        return scores, boxes

    @abstractmethod
    def _values(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run at most `max_batch` images."""
