"""Scale-aware changes of single objects (SADA, arXiv:2103.17220, with the policy found there).

Each picture draws one of five policies: a colour change blended in around some of its objects, then
a geometric change of some. Both grow likelier with `ramp`, the share of the mosaic phase behind us.

Shapes: H, W pixels, N objects, K selected ones. Source: facts damo_yolo.md, section 8.2.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.augment.color import ColorName, change_color
from damo_yolo.augment.gaussian import GaussianMap
from damo_yolo.augment.geometry import MIN_SIDE_PX, Image
from damo_yolo.boxes import area
from damo_yolo.config import Config
from damo_yolo.samples import Sample

GeometricName = Literal["flip", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"]

REFERENCE_SIDE = 800
"""Shorter side at which `scale_splits` hold; they grow linearly with it."""
NETWORK_SIDE = 640
"""Shorter side at which `max_translate_px` holds."""
SPREADS = (6.0, 2.0, 0.4)
"""Area of the Gaussian relative to the reference area of a small, medium and large object."""
FILL = (102, 115, 122)
MAX_LEVEL = 10


class BoxPolicy(Config):
    """A colour operation and a geometric one, each with its probability and level (0 to 10)."""

    color: ColorName
    color_prob: float = Field(ge=0, le=1)
    color_level: float = Field(ge=0, le=MAX_LEVEL)
    geometric: GeometricName
    geometric_prob: float = Field(ge=0, le=1)
    geometric_level: float = Field(ge=0, le=MAX_LEVEL)


def _policy(
    color: tuple[ColorName, float, float], geometric: tuple[GeometricName, float, float]
) -> BoxPolicy:
    return BoxPolicy(
        color=color[0],
        color_prob=color[1],
        color_level=color[2],
        geometric=geometric[0],
        geometric_prob=geometric[1],
        geometric_level=geometric[2],
    )


PUBLISHED_POLICIES = (
    _policy(("color", 0.4, 2), ("translate_x", 0.4, 4)),
    _policy(("brightness", 0.2, 4), ("rotate", 0.4, 2)),
    _policy(("sharpness", 0.4, 2), ("shear_x", 0.2, 6)),
    _policy(("solarize_add", 0.2, 2), ("flip", 0.5, 1)),
    _policy(("color", 0.0, 8), ("translate_y", 0.2, 8)),
)


class BoxLevelConfig(Config):
    """How often, how strongly and for which objects."""

    enabled: bool = True
    policies: tuple[BoxPolicy, ...] = Field(default=PUBLISHED_POLICIES, min_length=1)
    object_prob: float = Field(default=0.3, ge=0, le=1)
    """Shared between small, medium and large objects in the ratios below."""
    color_ratios: tuple[float, float, float] = (7, 5, 1)
    geometric_ratios: tuple[float, float, float] = (3, 3, 3)
    scale_splits: tuple[float, float, float] = (2048, 10240, 51200)
    """Areas in px^2 that part small, medium and large at a shorter side of 800 px."""
    max_rotation_deg: float = Field(default=30, ge=0)
    max_shear_deg: float = Field(default=15, ge=0, lt=90)
    max_translate_px: float = Field(default=120, ge=0)
    """At a shorter side of 640 px; it shrinks with the picture."""


def box_level(
    sample: Sample, rng: np.random.Generator, config: BoxLevelConfig, *, ramp: float
) -> Sample:
    """Change some objects of a picture.

    Args:
        sample: the picture; its image is not written to.
        rng: the sample's own generator.
        config: probabilities and ranges.
        ramp: 0 changes nothing, 1 applies the full probabilities.
    """
    policy = config.policies[rng.integers(len(config.policies))]
    color_draw, geometric_draw = rng.random(2)
    if color_draw < policy.color_prob * ramp:
        chosen = select_objects(sample, rng, config, ratios=config.color_ratios)
        sample = _recolor(sample, chosen, policy, config)
    if geometric_draw < policy.geometric_prob * ramp:
        chosen = select_objects(sample, rng, config, ratios=config.geometric_ratios)
        sample = _reshape(sample, chosen, rng, policy=policy, config=config)
    return sample


def select_objects(
    sample: Sample,
    rng: np.random.Generator,
    config: BoxLevelConfig,
    *,
    ratios: tuple[float, float, float],
) -> NDArray[np.intp]:
    """Draw the objects to change by their size; an object without area is never drawn."""
    areas = area(sample.boxes)
    shares = object_probabilities(areas, scale_splits(sample.image, config), ratios)
    draws = rng.random(len(areas))
    return np.flatnonzero((draws < config.object_prob * shares) & (areas > 0))


def object_probabilities(
    areas: NDArray[np.float32],
    splits: NDArray[np.float64],
    ratios: tuple[float, float, float],
) -> NDArray[np.float64]:
    """Return (N,) shares of `ratios` by object area: small, medium, large."""
    size_class = np.searchsorted(splits[:2], areas, side="right")  # (N,) 0, 1 or 2
    shares: NDArray[np.float64] = np.asarray(ratios, np.float64)[size_class] / sum(ratios)
    return shares


def scale_splits(image: Image, config: BoxLevelConfig) -> NDArray[np.float64]:
    """Return the three areas, px^2, for this picture's shorter side."""
    factor = min(image.shape[:2]) / REFERENCE_SIDE
    splits: NDArray[np.float64] = np.array(config.scale_splits, np.float64) * factor
    return splits


def spreads(areas: NDArray[np.float32], splits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K,) factors by which the Gaussians of colour changes are wider than the objects."""
    small, medium, large = splits
    references = np.array([small, (small + medium) / 2, large, 0.0])
    size_class = np.searchsorted(splits, areas, side="right")
    factors: NDArray[np.float64] = (
        np.array([*SPREADS, 0.0])[size_class] * references[size_class] / areas
    )
    factors[size_class == len(SPREADS)] = SPREADS[-1]  # larger than any reference
    return factors


def _recolor(
    sample: Sample, chosen: NDArray[np.intp], policy: BoxPolicy, config: BoxLevelConfig
) -> Sample:
    if not chosen.size:
        return sample
    height, width = sample.image.shape[:2]
    boxes = sample.boxes[chosen]
    spread = spreads(area(boxes), scale_splits(sample.image, config))
    bells = GaussianMap.around(boxes, spread, width=width, height=height)
    image = sample.image.copy()
    bells.blend_into(image, change_color(image, policy.color, policy.color_level))
    return replace(sample, image=image)


def _reshape(
    sample: Sample,
    chosen: NDArray[np.intp],
    rng: np.random.Generator,
    *,
    policy: BoxPolicy,
    config: BoxLevelConfig,
) -> Sample:
    """Change the chosen objects one after the other; a translated one leaves its original."""
    signs = rng.choice((-1.0, 1.0), len(chosen))
    image = sample.image.copy()
    added: list[NDArray[np.float32]] = []
    labels: list[int] = []
    for index, sign in zip(chosen, signs, strict=True):
        strength = float(sign) * policy.geometric_level / MAX_LEVEL
        box = sample.boxes[index]
        if policy.geometric.startswith("translate"):
            copy = _translate(image, box, name=policy.geometric, strength=strength, config=config)
            if copy is not None:
                added.append(copy)
                labels.append(int(sample.labels[index]))
        else:
            _change_inside(image, box, name=policy.geometric, strength=strength, config=config)
    boxes = np.concatenate((sample.boxes, np.array(added, np.float32).reshape(-1, 4)))
    all_labels = np.concatenate((sample.labels, np.array(labels, np.int64)))
    return replace(sample, image=image).with_objects(boxes, all_labels)


def _translate(
    image: Image, box: NDArray[np.float32], *, name: str, strength: float, config: BoxLevelConfig
) -> NDArray[np.float32] | None:
    """Paste a copy of the object beside it; return the copy's box, None when nothing is seen."""
    height, width = image.shape[:2]
    shift = round(strength * config.max_translate_px * min(height, width) / NETWORK_SIDE)
    across, down = (shift, 0) if name == "translate_x" else (0, shift)
    moved = box + np.array([across, down] * 2, np.float32)
    moved[0::2] = moved[0::2].clip(0, width)
    moved[1::2] = moved[1::2].clip(0, height)
    if (moved[2:] - moved[:2]).min() <= MIN_SIDE_PX:
        return None
    x1, y1, x2, y2 = (int(side) for side in moved)
    source = image[y1 - down : y2 - down, x1 - across : x2 - across].copy()
    _paste(image[y1:y2, x1:x2], source)
    return moved


def _change_inside(
    image: Image, box: NDArray[np.float32], *, name: str, strength: float, config: BoxLevelConfig
) -> None:
    x1, y1, x2, y2 = (int(side) for side in box)
    crop = image[y1:y2, x1:x2]
    if crop.size:
        _paste(crop, _INSIDE[name](crop, strength, config))


def _paste(target: Image, content: Image) -> None:
    """Blend `content` into `target`, fully at its middle, in place."""
    height, width = target.shape[:2]
    whole = np.array([[0, 0, width, height]], np.float32)
    bell = GaussianMap.around(whole, np.ones(1), width=width, height=height)
    bell.blend_into(target, content)


def _flipped(crop: Image, _strength: float, _config: BoxLevelConfig) -> Image:
    return crop[:, ::-1].copy()


def _rotated(crop: Image, strength: float, config: BoxLevelConfig) -> Image:
    middle = ((crop.shape[1] - 1) / 2, (crop.shape[0] - 1) / 2)
    return _warped(crop, cv2.getRotationMatrix2D(middle, strength * config.max_rotation_deg, 1.0))


def _sheared_x(crop: Image, strength: float, config: BoxLevelConfig) -> Image:
    return _warped(crop, np.array([[1.0, _slope(strength, config), 0.0], [0.0, 1.0, 0.0]]))


def _sheared_y(crop: Image, strength: float, config: BoxLevelConfig) -> Image:
    return _warped(crop, np.array([[1, 0, 0], [_slope(strength, config), 1, 0]], np.float64))


def _slope(strength: float, config: BoxLevelConfig) -> float:
    return math.tan(math.radians(strength * config.max_shear_deg))


def _warped(crop: Image, matrix: cv2.typing.MatLike) -> Image:
    return cast("Image", cv2.warpAffine(crop, matrix, crop.shape[1::-1], borderValue=FILL))


_INSIDE: dict[str, Callable[[Image, float, BoxLevelConfig], Image]] = {
    "flip": _flipped,
    "rotate": _rotated,
    "shear_x": _sheared_x,
    "shear_y": _sheared_y,
}
