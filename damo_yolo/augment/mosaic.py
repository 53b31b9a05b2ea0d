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
    known_to_all,
    warp_image,
    warp_objects,
)
from damo_yolo.boxes import area, clip
from damo_yolo.samples import Sample

NUM_TILES = 4

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
    canvas = np.empty((2 * height, 2 * width, 4), np.uint8)
    canvas[...] = GREY
    boxes, labels = [], []
    for index, tile in enumerate(tiles):
        on_canvas, on_tile = place_tile(index, centre, tile.image.shape[1::-1], canvas.shape[1::-1])
        _paste(tile.image, on_tile, canvas, on_canvas)
        shifted, kept = _shift(tile.boxes, on_canvas, on_tile)
        boxes.append(shifted)
        labels.append(tile.labels[kept])

    matrix = view.matrix((2 * width, 2 * height), (width, height))
    moved, kept = warp_objects(
        np.concatenate(boxes), matrix, scale=view.scale, width=width, height=height
    )
    picture = replace(
        tiles[0],
        image=warp_image(canvas, matrix, width=width, height=height),
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


def _paste(tile: Image, on_tile: Span, canvas: Image, on_canvas: Span) -> None:
    x1, y1, x2, y2 = on_tile
    left, top, right, bottom = on_canvas
    cv2.cvtColor(tile[y1:y2, x1:x2], cv2.COLOR_RGB2RGBA, dst=canvas[top:bottom, left:right])


def _shift(boxes: Boxes, on_canvas: Span, on_tile: Span) -> tuple[Boxes, NDArray[np.intp]]:
    """Move boxes with their tile; drop those of which the canvas cuts off nearly everything."""
    x1, y1, x2, y2 = on_tile
    visible = clip(boxes - np.array([x1, y1, x1, y1], np.float32), width=x2 - x1, height=y2 - y1)
    kept = np.flatnonzero(area(visible) > MIN_AREA_RATIO * area(boxes))
    left, top = on_canvas[:2]
    return visible[kept] + np.array([left, top, left, top], np.float32), kept
