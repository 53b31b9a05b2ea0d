"""The nouns that rooms exchange: one image's record, a sample, a batch, detections.

Shapes: B images, H, W pixels, N objects of an image, G objects padded over a batch, C classes.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What the annotations say of one image, before its pixels are read."""

    key: str
    """Dataset and image id, unique over all datasets: `coco/000000000139`."""
    dataset: str
    image_uri: str
    width: int
    height: int
    boxes: NDArray[np.float32]
    """(N, 4) xyxy pixels."""
    class_ids: NDArray[np.int32]
    """(N,) ids of the unified label space."""
    source_ids: tuple[str, ...]
    """(N,) the dataset's own class ids: a COCO category id as text, an OpenImages mid, a name."""
    is_crowd: NDArray[np.bool_]
    """(N,) True for crowd and group-of regions: ignored in evaluation, never trained on."""
    known_ids: NDArray[np.int32] | None = None
    """(K,) unified ids whose absence is evidence here; None: what the dataset annotates."""
    unknown_ids: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Unified ids taken out of the known ones for this image."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One decoded image with its objects, on its way through augmentation."""

    key: str
    dataset: str
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    boxes: NDArray[np.float32]
    """(N, 4) xyxy pixels of `image`."""
    labels: NDArray[np.int64]
    """(N,) unified class ids."""
    known: NDArray[np.bool_]
    """(C,) True where absence of the class is evidence."""
    original_size: tuple[int, int]
    """Width and height of the image as stored."""
    is_broken: bool = False
    """Its pixels cannot be decoded: it is grey, without objects, and knows no class."""

    def with_objects(self, boxes: NDArray[np.float32], labels: NDArray[np.int64]) -> Self:
        """Return the same image with other objects; boxes and labels never part."""
        assert len(boxes) == len(labels)
        return replace(self, boxes=boxes, labels=labels)


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size stacked for a step."""

    images: "Tensor"
    """(B, 3, H, W) uint8 RGB; the training step turns it into float 0..255 on the device."""
    gt_boxes: "Tensor"
    """(B, G, 4) float32 xyxy pixels, zero where padded."""
    gt_labels: "Tensor"
    """(B, G) int64 unified class ids, zero where padded."""
    gt_valid: "Tensor"
    """(B, G) bool, False where padded."""
    class_mask: "Tensor | None"
    """(B, C) bool, True where absence of the class is evidence; None: every class is known."""
    keys: tuple[str, ...]
    original_sizes: tuple[tuple[int, int], ...]
    """(B,) width and height of each image as stored."""
    broken: tuple[str, ...] = ()
    """Keys of images that cannot be decoded; each is an empty grey one here, of no known class."""


@dataclass(frozen=True, slots=True)
class Detections:
    """What a detector found in one image, best first."""

    key: str
    boxes: NDArray[np.float32]
    """(N, 4) xyxy pixels of the image as stored."""
    scores: NDArray[np.float32]
    """(N,) in 0..1, descending."""
    labels: NDArray[np.int64]
    """(N,) unified class ids."""
