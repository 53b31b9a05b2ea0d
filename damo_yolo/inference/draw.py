"""Detections on an image, readable also where the image is small.

Coordinates here are pixels of the canvas, which is the image enlarged by a whole factor.
"""

import colorsys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo.inference.predictor import NamedDetection

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
FONT = cv2.FONT_HERSHEY_SIMPLEX
MARGIN = 2
MIDDLE_GREY = 140
GOLDEN_ANGLE = 0.381966
"""Share of the colour circle between two class ids: neighbours look different."""


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes that follow the canvas."""

    line: int
    font_scale: float
    stroke: int

    @classmethod
    def of(cls, side: int) -> "_Style":
        return cls(
            line=max(1, round(side / 320)),
            font_scale=max(0.45, side / 1200),
            stroke=max(1, round(side / 900)),
        )


def draw_detections(
    image: NDArray[np.uint8], detections: Sequence[NamedDetection], *, min_side: int = 480
) -> NDArray[np.uint8]:
    """Return an RGB picture of the image with boxes, names and scores.

    Args:
        image: (H, W, 3) RGB; left as it is.
        detections: what to draw; the best is drawn last, on top.
        min_side: images whose shorter side is below it are enlarged by a whole factor, so that
            names can be read.
    """
    factor = max(1, -(-min_side // min(image.shape[:2])))
    canvas = np.ascontiguousarray(image.repeat(factor, axis=0).repeat(factor, axis=1))
    style = _Style.of(min(canvas.shape[:2]))
    worst_first = sorted(detections, key=lambda item: item.score)
    for item in worst_first:
        left, top, right, bottom = _on_canvas(item, factor)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour_of(item.class_id), style.line)
    taken: list[Rectangle] = []
    for item in reversed(worst_first):  # the best gets the best place for its name
        taken.append(_draw_name(canvas, item, factor, style, taken))
    return canvas


def colour_of(class_id: int) -> Colour:
    """Return the RGB colour of a class, the same in every picture."""
    hue = (class_id * GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_name(
    canvas: NDArray[np.uint8],
    item: NamedDetection,
    factor: int,
    style: _Style,
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Write the name where it hides no other, and return the place."""
    text = f"{_drawable(item.name)} {item.score:.2f}"
    (width, height), below = cv2.getTextSize(text, FONT, style.font_scale, style.stroke)
    size = (width + 2 * MARGIN, height + below + 2 * MARGIN)
    place = _free_place(_on_canvas(item, factor), size, canvas.shape[:2], taken)
    left, top, right, bottom = place
    colour = colour_of(item.class_id)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, cv2.FILLED)
    origin = (left + MARGIN, bottom - below - MARGIN)
    cv2.putText(
        canvas, text, origin, FONT, style.font_scale, _ink(colour), style.stroke, cv2.LINE_AA
    )
    return place


def _free_place(
    box: Rectangle, size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Return the first free place above, inside or below the box, always on the canvas."""
    height = size[1]
    left, top, _, bottom = box
    tops = (top - height, top, bottom, bottom - height)
    places = [_moved_inside(left, y, size, canvas) for y in tops]
    steps = range(0, max(1, canvas[0] - height), height)
    places += [_moved_inside(left, top + step, size, canvas) for step in steps]
    return next((p for p in places if not any(_overlap(p, t) for t in taken)), places[0])


def _moved_inside(x: int, y: int, size: tuple[int, int], canvas: tuple[int, int]) -> Rectangle:
    width, height = size
    left = max(0, min(x, canvas[1] - width))
    top = max(0, min(y, canvas[0] - height))
    return left, top, left + width, top + height


def _overlap(first: Rectangle, second: Rectangle) -> bool:
    across = first[0] < second[2] and second[0] < first[2]
    return across and first[1] < second[3] and second[1] < first[3]


def _on_canvas(item: NamedDetection, factor: int) -> Rectangle:
    left, top, right, bottom = (round(value * factor) for value in item.box)
    return left, top, right, bottom


def _ink(colour: Colour) -> Colour:
    """Return black or white, whichever is easier to read on the colour."""
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if brightness > MIDDLE_GREY else (255, 255, 255)


def _drawable(name: str) -> str:
    """Return the name in the letters that the font has."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return plain or "?"
