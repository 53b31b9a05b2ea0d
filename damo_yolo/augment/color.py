"""Photometric changes: blends with a degenerate picture, and additions to the darker values.

Shapes: H, W pixels. Images are uint8 (H, W, 3) RGB. Source: facts damo_yolo.md, section 8.2; the
published code works on 0..1 without rounding, which differs by less than one grey level.
"""

from collections.abc import Callable
from typing import Literal, cast

import cv2
import numpy as np

from damo_yolo.augment.geometry import Image

ColorName = Literal["color", "contrast", "brightness", "sharpness", "solarize_add"]

SMOOTH_KERNEL = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
MAX_LEVEL = 10
PEAK = 255
SOLARIZE_BELOW = 0.5
SOLARIZE_MAX = 0.4296875


def change_color(image: Image, name: ColorName, level: float) -> Image:
    """Return the picture changed by the named operation at a level of 0 (weak) to 10."""
    if name == "solarize_add":
        return solarize_add(image, level / MAX_LEVEL * SOLARIZE_MAX)
    return blend(image, _DEGENERATE[name](image), level / MAX_LEVEL * 1.8 + 0.1)


def blend(image: Image, degenerate: Image, factor: float) -> Image:
    """Return `degenerate` at factor 0, `image` at 1, and what lies beyond, cut to 0..255."""
    return cast("Image", cv2.addWeighted(image, factor, degenerate, 1 - factor, 0))


def solarize_add(image: Image, amount: float) -> Image:
    """Add a share of the peak to the values of the darker half."""
    values = np.arange(PEAK + 1)
    lifted = values + amount * PEAK * (values <= SOLARIZE_BELOW * PEAK)
    return cast("Image", cv2.LUT(image, np.rint(lifted).clip(0, PEAK).astype(np.uint8)))


def _grey(image: Image) -> Image:
    return cast("Image", cv2.cvtColor(_values(image), cv2.COLOR_GRAY2RGB))


def _mean_grey(image: Image) -> Image:
    return np.full_like(image, round(float(_values(image).mean())))


def _smooth(image: Image) -> Image:
    smoothed = cv2.filter2D(image, -1, SMOOTH_KERNEL, borderType=cv2.BORDER_REFLECT_101)
    return cast("Image", smoothed)


def _values(image: Image) -> Image:
    """Return (H, W) luma."""
    return cast("Image", cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


_DEGENERATE: dict[ColorName, Callable[[Image], Image]] = {
    "color": _grey,
    "contrast": _mean_grey,
    "brightness": np.zeros_like,
    "sharpness": _smooth,
}
