"""Two samples into one: the mean of their pixels, the objects of both.

Shapes: S side of the sample; the partner is letterboxed to S, then scaled by `scale`.
Source: facts damo_yolo.md, section 8.1.
"""

from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np

from damo_yolo.augment.geometry import (
    GREY,
    Boxes,
    Image,
    flip_boxes,
    known_to_all,
    resize_image,
)
from damo_yolo.boxes import clip
from damo_yolo.samples import Sample


@dataclass(frozen=True, slots=True)
class Overlay:
    """One draw: how the partner is laid over the sample."""

    scale: float = 1.0
    """Size of the letterboxed partner relative to the sample."""
    mirrored: bool = False
    corner_x: float = 0.0
    """Where a larger partner is cropped: fraction of the excess width, in [0, 1)."""
    corner_y: float = 0.0


def mixup(sample: Sample, partner: Sample, overlay: Overlay) -> Sample:
    """Blend half of `partner` into half of `sample`.

    Args:
        sample: the first picture, of any content.
        partner: a stretched picture; its stored size says which ratio the letterbox restores.
        overlay: scale, mirroring and crop of the partner.

    Returns:
        A sample with the objects of both; a class is known where both know it.
    """
    height, width = sample.image.shape[:2]
    image, boxes = _letterbox(partner, overlay, width=width, height=height)
    left, top = _excess(image, overlay, width=width, height=height)
    image = image[top : top + height, left : left + width]
    boxes = clip(boxes - np.array([left, top, left, top], np.float32), width=width, height=height)
    layer = np.zeros_like(sample.image)  # black where a smaller partner leaves a margin
    layer[: image.shape[0], : image.shape[1]] = image
    mixed = replace(
        sample,
        image=cast("Image", cv2.addWeighted(sample.image, 0.5, layer, 0.5, 0)),
        known=known_to_all((sample, partner)),
    )
    return mixed.with_objects(
        np.concatenate((sample.boxes, boxes)), np.concatenate((sample.labels, partner.labels))
    )


def _letterbox(
    partner: Sample, overlay: Overlay, *, width: int, height: int
) -> tuple[Image, Boxes]:
    """Restore the partner's ratio at the top left of a grey picture, scale and mirror it."""
    stored_width, stored_height = partner.original_size
    ratio = min(width / stored_width, height / stored_height) * overlay.scale
    inner_width = max(round(stored_width * ratio), 1)
    inner_height = max(round(stored_height * ratio), 1)
    outer_width = max(round(width * overlay.scale), inner_width)
    outer_height = max(round(height * overlay.scale), inner_height)

    image = np.full((outer_height, outer_width, 3), GREY, np.uint8)
    image[:inner_height, :inner_width] = resize_image(
        partner.image, width=inner_width, height=inner_height
    )
    rows, columns = partner.image.shape[:2]
    factors = np.array([inner_width / columns, inner_height / rows] * 2, np.float32)
    boxes = partner.boxes * factors
    if overlay.mirrored:
        return cast("Image", cv2.flip(image, 1)), flip_boxes(boxes, width=outer_width)
    return image, boxes


def _excess(image: Image, overlay: Overlay, *, width: int, height: int) -> tuple[int, int]:
    rows, columns = image.shape[:2]
    left = int(max(columns - width, 0) * overlay.corner_x)
    return left, int(max(rows - height, 0) * overlay.corner_y)
