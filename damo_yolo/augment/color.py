"""Photometric changes: blends with a degenerate picture, and inverting additions.

Shapes: H, W pixels. Images here are float32 (H, W, 3) RGB in 0..1. Source: facts damo_yolo.md,
section 8.2.
"""

from collections.abc import Callable
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
ColorName = Literal["color", "contrast", "brightness", "sharpness", "solarize_add"]

GREY_WEIGHTS = np.array([[0.2989, 0.587, 0.114]], np.float32)
SMOOTH_KERNEL = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
SOLARIZE_BELOW = 0.5
MAX_LEVEL = 10


def change_color(image: FloatImage, name: ColorName, level: float) -> FloatImage:
    """Return the picture changed by the named operation at a level of 0 (weak) to 10."""
    if name == "solarize_add":
        return solarize_add(image, level / MAX_LEVEL * 0.4296875)
    return blend(image, _DEGENERATE[name](image), level / MAX_LEVEL * 1.8 + 0.1)


def blend(image: FloatImage, degenerate: FloatImage, factor: float) -> FloatImage:
    """Return `degenerate` at factor 0, `image` at 1, and what lies beyond, cut to 0..1."""
    mixed = cv2.addWeighted(image, factor, degenerate, 1 - factor, 0)
    return cast("FloatImage", mixed.clip(0, 1) if factor > 1 else mixed)


def solarize_add(image: FloatImage, amount: float) -> FloatImage:
    """Add to the darker half of the values."""
    return cast("FloatImage", image + np.float32(amount) * (image <= SOLARIZE_BELOW))


def _grey(image: FloatImage) -> FloatImage:
    values = cv2.transform(image, GREY_WEIGHTS)  # (H, W)
    return cast("FloatImage", cv2.merge([values] * 3))


def _mean_grey(image: FloatImage) -> FloatImage:
    return np.full_like(image, cv2.transform(image, GREY_WEIGHTS).mean())


def _smooth(image: FloatImage) -> FloatImage:
    smoothed = cv2.filter2D(image, -1, SMOOTH_KERNEL, borderType=cv2.BORDER_REFLECT_101)
    return cast("FloatImage", smoothed)


_DEGENERATE: dict[ColorName, Callable[[FloatImage], FloatImage]] = {
    "color": _grey,
    "contrast": _mean_grey,
    "brightness": np.zeros_like,
    "sharpness": _smooth,
}
