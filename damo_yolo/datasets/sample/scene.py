"""Draw one image: a crop of a photograph, and sprites of random size, turn and place on it."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo.datasets.catalog import Split
from damo_yolo.datasets.sample.canvas import OPAQUE, Canvas, DrawnObject
from damo_yolo.datasets.sample.plan import PlannedImage

IMAGE_SIDES = range(192, 289, 8)
"""Pixels; width and height differ by a third at most."""
ASPECT_LIMIT = 4 / 3
SMALLEST_CROP = 0.45
"""Part of a photograph's side that a background shows at least."""

SIDES_FEW = (0.26, 0.50)
SIDES_MANY = (0.20, 0.32)
SIDES_ODD = (0.15, 0.58)
"""Range of a sprite's longer side, as part of the geometric mean of the image's sides."""
MANY = 5
ODD_SHARE = 0.12
MIRRORED_SHARE = 0.5

ANGLE_LIMIT_DEG = 25.0
ANGLE_BIN_DEG = 5.0
ANGLE_BINS: dict[Split, tuple[int, ...]] = {"train": (0, 2, 4, 6, 8), "val": (1, 3, 5, 7, 9)}
"""Bins from -25 degrees up: no pose of a validation image occurs in training."""

CUT_SHARE = 0.15
OUTSIDE = 0.15
"""One in so many sprites may be cut by the border, by up to that part of its side."""

MAX_TRIES = 80
SHRINK = 0.99
"""Factor on the side after a try without a place."""

GROUP_PLACES = (
    *((0.00, 0.04), (0.34, 0.00), (0.64, 0.06), (0.16, 0.33)),
    *((0.50, 0.31), (0.00, 0.62), (0.33, 0.64), (0.64, 0.60)),
)
GROUP_MEMBER = 0.36
"""Places and size of a group's instances, as parts of its side; Open Images asks for over five."""


class Scene(NamedTuple):
    """A drawn image."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    objects: tuple[DrawnObject, ...]


def draw_scene(
    plan: PlannedImage,
    sprites: tuple[NDArray[np.uint8], ...],
    photographs: tuple[NDArray[np.uint8], ...],
    rng: np.random.Generator,
) -> Scene:
    """Draw the objects of a plan in order, later ones over earlier ones.

    Args:
        plan: what to show; an object that finds no place after many tries is left out.
        sprites: (S, S, 4) RGBA, colours multiplied by alpha, in the order of CLASSES.
        photographs: (., ., 3) RGB; one is taken.
        rng: the image's own random numbers.
    """
    photograph = photographs[rng.integers(len(photographs))]
    canvas = Canvas(_background(photograph, _image_size(rng), rng))
    mean_side = math.sqrt(math.prod(canvas.size))
    for item in plan.objects:
        sprite = _group_of(sprites[item.index], rng) if item.is_group else sprites[item.index]
        side = mean_side * _side(len(plan.objects), is_group=item.is_group, rng=rng)
        angle = pose_angle(plan.split, rng)
        gain = rng.uniform(0.85, 1.15)
        outside = OUTSIDE if rng.random() < CUT_SHARE else 0.0
        view = sprite[:, ::-1] if rng.random() < MIRRORED_SHARE else sprite
        for attempt in range(MAX_TRIES):
            posed = pose(view, side=side * SHRINK**attempt, angle_deg=angle, gain=gain)
            left_top = _place(posed, canvas.size, outside=outside, rng=rng)
            if canvas.place(posed, left_top, index=item.index, is_group=item.is_group):
                break
    return Scene(canvas.pixels(), canvas.objects())


def pose(
    sprite: NDArray[np.uint8], *, side: float, angle_deg: float, gain: float
) -> NDArray[np.float32]:
    """Scale, turn and brighten a sprite.

    Args:
        sprite: (S, S, 4) RGBA, colours multiplied by alpha.
        side: longer side of the sprite's alpha before turning, pixels.
        angle_deg: counter-clockwise.
        gain: factor on the colours.

    Returns:
        (., ., 4) RGBA in 0..255, cropped to alpha >= OPAQUE.
    """
    rows, columns = np.nonzero(sprite[:, :, 3] >= OPAQUE)
    scale = side / (1 + max(np.ptp(rows), np.ptp(columns)))
    width = math.ceil(math.hypot(*sprite.shape[:2]) * scale)
    centre = ((sprite.shape[1] - 1) / 2, (sprite.shape[0] - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, angle_deg, scale)
    matrix[:, 2] = matrix[:, 2] + (width - 1) / 2 - np.array(centre)
    turned = cv2.warpAffine(sprite, matrix, (width, width), flags=cv2.INTER_LINEAR)
    posed = _cropped(np.asarray(turned, np.float32))
    posed[..., :3] = np.minimum(posed[..., :3] * gain, posed[..., 3:])
    return posed


def pose_angle(split: Split, rng: np.random.Generator) -> float:
    """Draw an angle in degrees; those of training and validation never meet."""
    turn = rng.choice(ANGLE_BINS[split]) + rng.random()
    return float(turn * ANGLE_BIN_DEG - ANGLE_LIMIT_DEG)


def _side(num_objects: int, *, is_group: bool, rng: np.random.Generator) -> float:
    if is_group:
        return float(rng.uniform(0.45, 0.55))
    if num_objects >= MANY:
        return float(rng.uniform(*SIDES_MANY))
    return float(rng.uniform(*(SIDES_ODD if rng.random() < ODD_SHARE else SIDES_FEW)))


def _place(
    posed: NDArray[np.float32],
    size: tuple[int, int],
    *,
    outside: float,
    rng: np.random.Generator,
) -> tuple[int, int]:
    """Draw the left top corner; (0, 0) at least where the sprite would not fit."""
    corner = []
    for length, available in ((posed.shape[1], size[0]), (posed.shape[0], size[1])):
        slack = round(outside * length)
        corner.append(int(rng.integers(-slack, max(available - length + slack, -slack) + 1)))
    return corner[0], corner[1]


def _group_of(sprite: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a sprite of the same class with eight touching instances."""
    unit = 3 * max(sprite.shape[:2])
    group = np.zeros((unit, unit, 4), np.float32)
    for x, y in GROUP_PLACES:
        angle, gain = rng.uniform(-20, 20), rng.uniform(0.9, 1.1)
        member = pose(sprite, side=GROUP_MEMBER * unit, angle_deg=angle, gain=gain)
        top, left = int(y * unit), int(x * unit)
        under = group[top : top + member.shape[0], left : left + member.shape[1]]
        member = member[: under.shape[0], : under.shape[1]]
        under[:] = under * (1 - member[:, :, 3:] / 255) + member
    small = cv2.resize(group, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    return np.asarray(small.clip(0, 255), np.uint8)


def _cropped(sprite: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = np.nonzero(sprite[:, :, 3] >= OPAQUE)
    return sprite[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].copy()


def _image_size(rng: np.random.Generator) -> tuple[int, int]:
    while True:
        width, height = (int(side) for side in rng.choice(np.array(IMAGE_SIDES), 2))
        if max(width, height) <= ASPECT_LIMIT * min(width, height):
            return width, height


def _background(
    photograph: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return an image of that width and height: a crop, perhaps mirrored, its colours changed."""
    height, width = photograph.shape[:2]
    zoom = rng.uniform(SMALLEST_CROP, 1.0) * min(width / size[0], height / size[1])
    crop_width, crop_height = int(size[0] * zoom), int(size[1] * zoom)
    left = int(rng.integers(0, width - crop_width + 1))
    top = int(rng.integers(0, height - crop_height + 1))
    crop = photograph[top : top + crop_height, left : left + crop_width]
    if rng.random() < MIRRORED_SHARE:
        crop = crop[:, ::-1]
    method = cv2.INTER_AREA if zoom > 1 else cv2.INTER_LINEAR
    view = cv2.resize(np.ascontiguousarray(crop), size, interpolation=method).astype(np.float32)
    gains = rng.uniform(0.7, 1.1) * rng.uniform(0.85, 1.15, 3)
    offset = rng.uniform(-20, 30)
    return (view * gains + offset).clip(0, 255).astype(np.uint8)
