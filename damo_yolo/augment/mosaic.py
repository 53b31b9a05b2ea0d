"""Four samples into one: tiles around a random centre, seen through a random affine.

Shapes: S side of the network image and of every tile; the canvas is 2 S wide and high.
Source: facts damo_yolo.md, section 8.1. There the canvas is 1280 for every network size; here it
follows the network image, so that nothing is resized twice.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo.augment.geometry import (
    GREY,
    MIN_AREA_RATIO,
    Affine,
    Boxes,
    Image,
    Matrix,
    known_to_all,
    warp_boxes,
    warp_image,
    warp_objects,
)
from damo_yolo.boxes import area, clip
from damo_yolo.samples import Sample

NUM_TILES = 4
MARGIN_PX = 2
"""Around what is seen of the canvas: interpolation looks one pixel further."""

Span = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels."""


def mosaic(tiles: Sequence[Sample], centre: tuple[int, int], view: Affine) -> Sample:
    """Lay four tiles of equal size around `centre` and look at the canvas through `view`.

    Args:
        tiles: top left, top right, bottom left, bottom right; the first one lends its key.
        centre: x and y on the canvas where the four meet, pixels.
        view: the affine from the canvas to the picture.

    Returns:
        A sample of the tiles' size; a class is known where it is known in all four.
    """
    height, width = tiles[0].image.shape[:2]
    canvas = (2 * width, 2 * height)
    matrix = view.matrix(canvas, (width, height))
    seen = _seen(matrix, canvas, (width, height))
    left, top, right, bottom = seen
    part = np.empty((bottom - top, right - left, 4), np.uint8)  # of the canvas
    part[...] = GREY
    boxes, labels = [], []
    for index, tile in enumerate(tiles):
        on_canvas, on_tile = place_tile(index, centre, tile.image.shape[1::-1], canvas)
        _paste(tile.image, (on_canvas, on_tile), part, seen)
        shifted, kept = _shift(tile.boxes, on_canvas, on_tile)
        boxes.append(shifted)
        labels.append(tile.labels[kept])

    moved, kept = warp_objects(
        np.concatenate(boxes), matrix, scale=view.scale, width=width, height=height
    )
    from_part = matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    picture = replace(
        tiles[0],
        image=warp_image(part, from_part, width=width, height=height),
        known=known_to_all(tiles),
    )
    return picture.with_objects(moved, np.concatenate(labels)[kept])


def place_tile(
    index: int, centre: tuple[int, int], tile: tuple[int, int], canvas: tuple[int, int]
) -> tuple[Span, Span]:
    """Say which part of a tile is visible, and where.

    Args:
        index: 0 top left, 1 top right, 2 bottom left, 3 bottom right of the centre.
        centre: x and y of the centre on the canvas.
        tile: width and height of the tile.
        canvas: width and height of the canvas.

    Returns:
        The span on the canvas and the equally large span on the tile.
    """
    left = centre[0] - tile[0] if index % 2 == 0 else centre[0]
    top = centre[1] - tile[1] if index < NUM_TILES // 2 else centre[1]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + tile[0], canvas[0]), min(top + tile[1], canvas[1])
    return (x1, y1, x2, y2), (x1 - left, y1 - top, x2 - left, y2 - top)


def _seen(matrix: Matrix, canvas: tuple[int, int], target: tuple[int, int]) -> Span:
    """Return the part of the canvas that the picture can show; the rest need not be drawn."""
    frame = np.array([[0, 0, *target]], np.float32)
    x1, y1, x2, y2 = warp_boxes(frame, np.linalg.inv(matrix).astype(np.float64))[0]
    left, right = (int(np.clip(x, 0, canvas[0])) for x in (x1 - MARGIN_PX, x2 + MARGIN_PX))
    top, bottom = (int(np.clip(y, 0, canvas[1])) for y in (y1 - MARGIN_PX, y2 + MARGIN_PX))
    return left, top, right, bottom


def _paste(tile: Image, place: tuple[Span, Span], part: Image, seen: Span) -> None:
    """Draw what is seen of a tile; `part` is the seen part of the canvas."""
    on_canvas, on_tile = place
    x1, y1 = max(on_canvas[0], seen[0]), max(on_canvas[1], seen[1])
    x2, y2 = min(on_canvas[2], seen[2]), min(on_canvas[3], seen[3])
    if x1 >= x2 or y1 >= y2:
        return
    across, down = on_tile[0] - on_canvas[0], on_tile[1] - on_canvas[1]
    cv2.cvtColor(
        tile[y1 + down : y2 + down, x1 + across : x2 + across],
        cv2.COLOR_RGB2RGBA,
        dst=part[y1 - seen[1] : y2 - seen[1], x1 - seen[0] : x2 - seen[0]],
    )


def _shift(boxes: Boxes, on_canvas: Span, on_tile: Span) -> tuple[Boxes, NDArray[np.intp]]:
    """Move boxes with their tile; drop those of which the canvas cuts off nearly everything."""
    x1, y1, x2, y2 = on_tile
    visible = clip(boxes - np.array([x1, y1, x1, y1], np.float32), width=x2 - x1, height=y2 - y1)
    kept = np.flatnonzero(area(visible) > MIN_AREA_RATIO * area(boxes))
    left, top = on_canvas[:2]
    return visible[kept] + np.array([left, top, left, top], np.float32), kept
