"""An image that sprites are pasted onto; it knows what is visible of each.

Shapes: H, W pixels of the image, h, w of a sprite as placed.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OPAQUE = 128
"""Alpha from which a pixel belongs to an object."""
COVER_LIMIT = 0.35
"""Largest part of an object that later ones may cover, together."""
SIDE_LIMITS = (0.12, 0.60)
"""Smallest and largest box side, as a part of the image's side."""


class Box(NamedTuple):
    """Whole pixels, xyxy."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the box."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """An object in place."""

    index: int
    """Class, as an index into CLASSES."""
    is_group: bool
    box: Box
    """Extent of the sprite's alpha inside the image, covered parts too."""
    mask: NDArray[np.bool_]
    """(h, w) pixels of the box that belong to the object, covered ones too."""
    is_cut: bool
    """Part of it lies outside the image."""
    covered: float = 0.0
    """Part hidden by later objects, 0..1."""


class Canvas:
    """A background with the objects placed so far."""

    def __init__(self, background: NDArray[np.uint8]) -> None:
        self._pixels = background.astype(np.float32)
        self._width, self._height = background.shape[1], background.shape[0]
        self._top = np.full((self._height, self._width), -1, np.int16)  # the topmost object
        self._objects: list[DrawnObject] = []
        self._covered: list[int] = []

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._width, self._height

    def place(
        self, sprite: NDArray[np.float32], left_top: tuple[int, int], *, index: int, is_group: bool
    ) -> bool:
        """Paste a sprite, unless its box has a wrong size or it would cover too much of another.

        Args:
            sprite: (., ., 4) RGBA as it shall appear, colours multiplied by alpha, cropped to
                alpha >= OPAQUE.
            left_top: x and y of its corner, may lie outside the image.
            index: its class.
            is_group: it shows several instances.

        Returns:
            Whether it was pasted.
        """
        found = self._clipped(sprite, left_top)
        if found is None:
            return False
        box, patch = found
        mask = patch[:, :, 3] >= OPAQUE
        hidden = np.bincount(self._top[box.region][mask] + 1, minlength=len(self._objects) + 1)[1:]
        for item, before, now in zip(self._objects, self._covered, hidden, strict=True):
            if before + now > COVER_LIMIT * item.mask.sum():
                return False
        self._covered = [a + int(b) for a, b in zip(self._covered, hidden, strict=True)]
        self._covered.append(0)
        self._top[box.region][mask] = len(self._objects)
        right, bottom = left_top[0] + sprite.shape[1], left_top[1] + sprite.shape[0]
        is_cut = min(left_top) < 0 or right > self._width or bottom > self._height
        self._objects.append(DrawnObject(index, is_group, box, mask, is_cut))
        under = self._pixels[box.region]
        self._pixels[box.region] = patch[:, :, :3] + under * (1 - patch[:, :, 3:] / 255)
        return True

    def pixels(self) -> NDArray[np.uint8]:
        """Return the (H, W, 3) image."""
        return (self._pixels + 0.5).clip(0, 255).astype(np.uint8)

    def objects(self) -> tuple[DrawnObject, ...]:
        """Return the objects in the order of placing, with what is covered of each."""
        pairs = zip(self._objects, self._covered, strict=True)
        return tuple(
            replace(item, covered=float(hidden / item.mask.sum())) for item, hidden in pairs
        )

    def _clipped(
        self, sprite: NDArray[np.float32], left_top: tuple[int, int]
    ) -> tuple[Box, NDArray[np.float32]] | None:
        """Return the part of a sprite inside the image, None where its box has a wrong size."""
        width, height = self.size
        left, top = left_top
        inside = sprite[max(0, -top) : height - top, max(0, -left) : width - left]
        opaque = inside[:, :, 3] >= OPAQUE
        if not opaque.any():
            return None
        columns, rows = np.flatnonzero(opaque.any(axis=0)), np.flatnonzero(opaque.any(axis=1))
        x1, y1 = max(left, 0) + int(columns[0]), max(top, 0) + int(rows[0])
        patch = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box = Box(x1, y1, x1 + patch.shape[1], y1 + patch.shape[0])
        parts = patch.shape[1] / width, patch.shape[0] / height
        if min(parts) < SIDE_LIMITS[0] or max(parts) > SIDE_LIMITS[1]:
            return None
        return box, patch
