"""Gaussian maps around objects, with which changes of single objects are blended in.

Shapes: H, W pixels, K objects. Source: facts damo_yolo.md, section 8.2.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo.augment.geometry import Boxes, Image

NEGLIGIBLE = 1e-3
"""A Gaussian below this changes no 8-bit value by one."""


@dataclass(frozen=True, slots=True)
class GaussianMap:
    """The sum of one Gaussian per object, cut at 1, where it is not negligible."""

    rows: slice
    columns: slice
    weights: NDArray[np.float32]
    """Within `rows` and `columns`, in 0..1."""

    @classmethod
    def around(
        cls, boxes: Boxes, spread: NDArray[np.float64], *, width: int, height: int
    ) -> "GaussianMap":
        """Return the map of (K, 4) boxes in a picture of `width` by `height`."""
        sides = boxes[:, 2:] - boxes[:, :2]
        centres = boxes[:, :2] + sides // 2  # (K, 2) x, y
        scale = np.sqrt(spread * width * height / (2 * math.pi))
        along_x = _bells(centres[:, 0], sides[:, 0] / width * scale, width)  # (K, W)
        along_y = _bells(centres[:, 1], sides[:, 1] / height * scale, height)  # (K, H)
        rows, columns = _support(along_y), _support(along_x)
        weights = along_y[:, rows].T @ along_x[:, columns]
        return cls(rows, columns, np.minimum(weights, 1))

    def blend_into(self, image: Image, content: Image) -> None:
        """Replace a picture by another one of its size, in place, as far as the map says."""
        if self.weights.size:
            before, after = image[self.rows, self.columns], content[self.rows, self.columns]
            before[...] = cv2.blendLinear(before, after, 1 - self.weights, self.weights)


def _bells(
    centres: NDArray[np.float32], deviations: NDArray[np.float64], length: int
) -> NDArray[np.float32]:
    distance = np.arange(length) - centres[:, None].astype(np.float64)
    bells = np.exp(-((distance / deviations[:, None]) ** 2) / 2)
    return bells.astype(np.float32)


def _support(bells: NDArray[np.float32]) -> slice:
    inside = np.flatnonzero(bells.max(axis=0) > NEGLIGIBLE)
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)
