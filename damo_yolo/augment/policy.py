"""The strong policy of the mosaic phase and the plain policy of the plain phase.

Shapes: S side of the pictures; every sample comes in stretched to S x S and leaves as S x S.
Source: facts damo_yolo.md, sections 8 to 8.2. There box-level changes also go on in the last, plain
epochs, and their ramp starts anew after a resume; neither is repeated here.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from damo_yolo.augment.box_level import BoxLevelConfig, box_level
from damo_yolo.augment.geometry import Affine, affine, flip
from damo_yolo.augment.mixup import Overlay, mixup
from damo_yolo.augment.mosaic import NUM_TILES, mosaic
from damo_yolo.boxes import area
from damo_yolo.config import Config
from damo_yolo.samples import Sample

Phase = Literal["mosaic", "plain"]

MIN_AREA_PX2 = 4.0
"""Objects up to this area are dropped at the end."""

Range = tuple[float, float]
Partners = Literal["any", "same_dataset"]


class AugmentConfig(Config):
    """Probabilities and ranges; the defaults are the published ones of sizes S, M and L."""

    partners: Partners = "same_dataset"
    """Whom a picture is mosaicked and mixed with. A class is known in the result only where all
    parts know it: pictures of one dataset know the same classes, those of several next to none.
    "any" mixes datasets as the published code does, and suits batches without a class mask."""
    mosaic_prob: float = Field(default=1.0, ge=0, le=1)
    mosaic_scale: Range = (0.1, 2.0)
    """Size of the tiles in the picture; Ns uses (0.75, 1.25)."""
    rotation_deg: float = Field(default=10.0, ge=0, le=180)
    translate: float = Field(default=0.2, ge=0, le=0.5)
    """How far the canvas centre may lie from the middle, as a fraction of the picture."""
    shear_deg: float = Field(default=2.0, ge=0, lt=90)
    """T and the nano sizes use 0.2."""
    mixup_prob: float = Field(default=0.15, ge=0, le=1)
    mixup_scale: Range = (0.5, 1.5)
    flip_prob: float = Field(default=0.5, ge=0, le=1)
    box_level: BoxLevelConfig = BoxLevelConfig()
    plain_affine: bool = False
    """Scale and shift in the plain policy too: for trainings too short for a mosaic phase."""
    plain_scale: Range = (0.75, 1.25)
    plain_translate: float = Field(default=0.1, ge=0, le=0.5)

    @model_validator(mode="after")
    def _ranges_rise_from_above_zero(self) -> Self:
        for name in ("mosaic_scale", "mixup_scale", "plain_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be two rising numbers above 0, not ({low}, {high})")
        return self


def strong(
    sample: Sample,
    window: Sequence[Sample],
    rng: np.random.Generator,
    config: AugmentConfig,
    *,
    ramp: float,
) -> Sample:
    """Mosaic, affine, mixup, flip, box-level changes.

    Args:
        sample: the picture whose turn it is.
        window: pictures to take partners from; none of the sample's own key is used while there
            are others.
        rng: the sample's own generator.
        config: probabilities and ranges.
        ramp: share of the mosaic phase behind us, 0..1, for box-level changes.
    """
    used = [sample]
    if rng.random() < config.mosaic_prob:
        prefer = config.partners
        used += choose_partners(sample, window, rng, count=NUM_TILES - 1, prefer=prefer)
        sample = _random_mosaic(used, rng, config)
    if rng.random() < config.mixup_prob and len(sample.labels):
        taken = {tile.key for tile in used}
        partner = _mixup_partner(_preferred(sample, window, config.partners), taken, rng)
        if partner is not None:
            sample = mixup(sample, partner, _random_overlay(rng, config))
    sample = _without_specks(sample)
    if rng.random() < config.flip_prob:
        sample = flip(sample)
    if config.box_level.enabled:
        sample = box_level(sample, rng, config.box_level, ramp=ramp)
    return sample


def plain(sample: Sample, rng: np.random.Generator, config: AugmentConfig) -> Sample:
    """Flip; with `plain_affine` also a mild scale and shift."""
    if config.plain_affine:
        low, high = 0.5 - config.plain_translate, 0.5 + config.plain_translate
        draw = Affine(
            scale=rng.uniform(*config.plain_scale),
            centre_x=rng.uniform(low, high),
            centre_y=rng.uniform(low, high),
        )
        sample = affine(sample, draw)
    sample = _without_specks(sample)
    return flip(sample) if rng.random() < config.flip_prob else sample


def choose_partners(
    sample: Sample,
    window: Sequence[Sample],
    rng: np.random.Generator,
    *,
    count: int,
    prefer: Partners = "any",
) -> list[Sample]:
    """Draw `count` partners, each image once; repeat only where the window holds too few.

    Those of the sample's own dataset go first with "same_dataset", others fill up.
    """
    distinct = list({other.key: other for other in window if other.key != sample.key}.values())
    preferred = _preferred(sample, distinct, prefer)
    if len(preferred) >= count:
        return [preferred[index] for index in rng.choice(len(preferred), count, replace=False)]
    if len(distinct) >= count:
        taken = {other.key for other in preferred}
        others = [other for other in distinct if other.key not in taken]
        fill = rng.choice(len(others), count - len(preferred), replace=False)
        return [*preferred, *(others[index] for index in fill)]
    pool = distinct or [sample]
    order = rng.permutation(len(pool))
    return [pool[order[index % len(pool)]] for index in range(count)]


def _preferred(sample: Sample, window: Sequence[Sample], prefer: Partners) -> Sequence[Sample]:
    if prefer == "any":
        return window
    return [other for other in window if other.dataset == sample.dataset]


def _mixup_partner(
    window: Iterable[Sample], taken: set[str], rng: np.random.Generator
) -> Sample | None:
    """Draw a picture with objects that is not in the mosaic yet; None where there is none."""
    labelled = {other.key: other for other in window if len(other.labels)}
    fresh = [other for key, other in labelled.items() if key not in taken]
    return fresh[rng.integers(len(fresh))] if fresh else None


def _random_mosaic(
    tiles: Sequence[Sample], rng: np.random.Generator, config: AugmentConfig
) -> Sample:
    height, width = tiles[0].image.shape[:2]
    centre = (int(rng.uniform(0.5, 1.5) * width), int(rng.uniform(0.5, 1.5) * height))
    low, high = 0.5 - config.translate, 0.5 + config.translate
    view = Affine(
        rotation_deg=rng.uniform(-config.rotation_deg, config.rotation_deg),
        scale=rng.uniform(*config.mosaic_scale),
        shear_x_deg=rng.uniform(-config.shear_deg, config.shear_deg),
        shear_y_deg=rng.uniform(-config.shear_deg, config.shear_deg),
        centre_x=rng.uniform(low, high),
        centre_y=rng.uniform(low, high),
    )
    return mosaic(tiles, centre, view)


def _random_overlay(rng: np.random.Generator, config: AugmentConfig) -> Overlay:
    return Overlay(
        scale=rng.uniform(*config.mixup_scale),
        mirrored=bool(rng.integers(2)),
        corner_x=rng.random(),
        corner_y=rng.random(),
    )


def _without_specks(sample: Sample) -> Sample:
    kept = area(sample.boxes) > MIN_AREA_PX2
    return sample.with_objects(sample.boxes[kept], sample.labels[kept])
