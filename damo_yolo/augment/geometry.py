"""Resize, flip and affine changes of an image together with its boxes.

Shapes: H, W pixels of the source, S side of the target, N objects. Images are uint8 (H, W, 3) RGB,
matrices (3, 3) float64 that take source pixels to target pixels.
Source: facts damo_yolo.md, section 8.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo.boxes import area, clip
from damo_yolo.samples import Sample

GREY = 114
"""What lies outside of an image."""

MIN_SIDE_PX = 2.0
MIN_AREA_RATIO = 0.1
MAX_ASPECT = 20.0

Image = NDArray[np.uint8]
Boxes = NDArray[np.float32]
Matrix = NDArray[np.float64]


def resize(sample: Sample, *, width: int, height: int) -> Sample:
    """Stretch to `width` by `height`; the ratio of the sides is not kept."""
    rows, columns = sample.image.shape[:2]
    factors = np.array([width / columns, height / rows] * 2, np.float32)
    return replace(
        sample,
        image=resize_image(sample.image, width=width, height=height),
        boxes=sample.boxes * factors,
    )


def resize_image(image: Image, *, width: int, height: int) -> Image:
    """Stretch by bilinear interpolation without smoothing, as in training so in evaluation."""
    if image.shape[:2] == (height, width):
        return image
    return cast("Image", cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    return replace(
        sample,
        image=cast("Image", cv2.flip(sample.image, 1)),
        boxes=flip_boxes(sample.boxes, width=sample.image.shape[1]),
    )


def flip_boxes(boxes: Boxes, *, width: float) -> Boxes:
    """Mirror (N, 4) boxes in an image of `width` pixels."""
    mirrored = boxes.copy()
    mirrored[:, 0] = width - boxes[:, 2]
    mirrored[:, 2] = width - boxes[:, 0]
    return mirrored


@dataclass(frozen=True, slots=True)
class Affine:
    """One draw: turn, scale and shear about the centre of the source, then put it down."""

    rotation_deg: float = 0.0
    scale: float = 1.0
    shear_x_deg: float = 0.0
    shear_y_deg: float = 0.0
    centre_x: float = 0.5
    """Where the centre of the source comes to lie, as a fraction of the target's width."""
    centre_y: float = 0.5

    def matrix(self, source: tuple[int, int], target: tuple[int, int]) -> Matrix:
        """Return T S R C from `source` to `target`, both width and height in pixels."""
        centre = np.eye(3)
        centre[:2, 2] = -source[0] / 2, -source[1] / 2
        turn = np.eye(3)
        turn[:2] = cv2.getRotationMatrix2D((0, 0), self.rotation_deg, self.scale)
        shear = np.eye(3)
        shear[0, 1] = math.tan(math.radians(self.shear_x_deg))
        shear[1, 0] = math.tan(math.radians(self.shear_y_deg))
        shift = np.eye(3)
        shift[:2, 2] = self.centre_x * target[0], self.centre_y * target[1]
        return shift @ shear @ turn @ centre


def affine(sample: Sample, draw: Affine) -> Sample:
    """Apply the draw within the image's own size and drop the objects that went out of sight."""
    height, width = sample.image.shape[:2]
    matrix = draw.matrix((width, height), (width, height))
    moved, kept = warp_objects(sample.boxes, matrix, scale=draw.scale, width=width, height=height)
    image = warp_image(add_channel(sample.image), matrix, width=width, height=height)
    return replace(sample, image=image).with_objects(moved, sample.labels[kept])


def warp_objects(
    boxes: Boxes, matrix: Matrix, *, scale: float, width: int, height: int
) -> tuple[Boxes, NDArray[np.intp]]:
    """Return the moved boxes that stay visible, and which of the (N, 4) given they are."""
    moved = clip(warp_boxes(boxes, matrix), width=width, height=height)
    kept = np.flatnonzero(stays_visible(boxes * np.float32(scale), moved))
    return moved[kept], kept


def warp_boxes(boxes: Boxes, matrix: Matrix) -> Boxes:
    """Return (N, 4) boxes around the four moved corners of each."""
    corners = boxes[:, [0, 1, 2, 3, 0, 3, 2, 1]].reshape(-1, 4, 2)
    moved = corners @ matrix[:2, :2].T + matrix[:2, 2]  # (N, 4, 2)
    return np.concatenate((moved.min(axis=1), moved.max(axis=1)), axis=1).astype(np.float32)


def stays_visible(before: Boxes, after: Boxes) -> NDArray[np.bool_]:
    """Tell which objects are still worth learning: (N,) bool.

    Args:
        before: (N, 4) boxes in the scale of the target, before anything was cut off.
        after: (N, 4) boxes that were left.
    """
    sides = (after[:, 2:] - after[:, :2]).astype(np.float64)
    shortest, longest = sides.min(axis=1, initial=np.inf), sides.max(axis=1, initial=0.0)
    large = shortest > MIN_SIDE_PX
    whole = area(after) > MIN_AREA_RATIO * area(before)
    compact = longest < MAX_ASPECT * shortest
    return cast("NDArray[np.bool_]", large & whole & compact)


def warp_image(image: Image, matrix: Matrix, *, width: int, height: int) -> Image:
    """Return (height, width, 3) pixels of a (H, W, 4) image; what lies outside of it is grey.

    The fourth channel carries nothing: OpenCV warps four channels in half the time of three.
    """
    warped = cv2.warpAffine(image, matrix[:2], (width, height), borderValue=(GREY,) * 4)
    return cast("Image", cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB))


def add_channel(image: Image) -> Image:
    """Return (H, W, 4) pixels for `warp_image`."""
    return cast("Image", cv2.cvtColor(image, cv2.COLOR_RGB2RGBA))


def known_to_all(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Return (C,) classes whose absence is evidence in a picture made of all samples."""
    return cast(
        "NDArray[np.bool_]", np.logical_and.reduce([sample.known for sample in samples], axis=0)
    )
