"""Draw the pictures of docs/data_stream.md: every transform, before and after.

    damo-yolo sample --out W/data && damo-yolo merge W/data/catalog.yaml --out W/records
    damo-yolo balance W/records --out W/plan
    damo-yolo shard W/records --plan W/plan --out W/shards
    python docs/draw_transforms.py W/shards

Box-level changes are drawn at level 10 of 10, where they can be seen; trainings use 1 to 8.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from damo_yolo.augment.box_level import BoxLevelConfig, BoxPolicy, GeometricName, box_level
from damo_yolo.augment.color import ColorName
from damo_yolo.augment.geometry import Affine, Image, affine, flip, resize
from damo_yolo.augment.mixup import Overlay, mixup
from damo_yolo.augment.mosaic import mosaic
from damo_yolo.augment.policy import AugmentConfig, plain, strong
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.collate import collate
from damo_yolo.loading.decode import SampleDecoder
from damo_yolo.loading.preview import draw_image
from damo_yolo.samples import Sample
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import ShardReader

SIDE = 224
GAP_PX = 6
FOLDER = Path(__file__).parent / "images"
NUM_READ = 60


def main() -> None:
    """Write all pictures."""
    shards = sys.argv[1]
    names = LabelSpace.load(f"{shards}/label_space.csv").names
    samples = read(shards, len(names))
    with_objects = [sample for sample in samples if len(sample.labels) > 1]
    background = next(sample for sample in samples if not len(sample.labels))
    FOLDER.mkdir(exist_ok=True)
    for name, pictures in drawings(with_objects, background):
        cells = [draw(picture, names) for picture in pictures]
        write(FOLDER / f"transform-{name}.jpg", cells)


def read(shards: str, num_classes: int) -> list[Sample]:
    """Return samples at their own ratio, the longer side `SIDE` pixels."""
    manifest = Manifest.load(f"{shards}/train")
    decoder = SampleDecoder.load(shards, manifest, image_size=SIDE, num_classes=num_classes)
    rows = np.random.default_rng(3).permutation(len(manifest))[:NUM_READ]
    with ShardReader(manifest) as reader:
        return [decoder.exact(raw) for raw in reader.read(rows)]


def drawings(samples: list[Sample], background: Sample) -> Iterator[tuple[str, list[Sample]]]:
    """Yield the name of each transform and the pictures that show it."""
    one, two, three, four, *others = samples
    turned = Affine(rotation_deg=8, scale=0.8, shear_x_deg=2, centre_x=0.55, centre_y=0.45)
    centre = (int(1.1 * SIDE), int(0.9 * SIDE))
    tiles = [one, two, three, background]
    width, height = one.original_size
    longer = max(width, height)
    stored = resize(one, width=SIDE * width // longer, height=SIDE * height // longer)
    yield "resize", [stored, one]
    yield "flip", [one, flip(one)]
    yield "affine", [one, affine(one, turned)]
    yield "mosaic", [*tiles, mosaic(tiles, centre, Affine(rotation_deg=6, scale=0.75))]
    yield "mixup", [two, four, mixup(two, four, Overlay(scale=0.9, mirrored=True))]
    for color in get_args(ColorName):
        yield f"box-{color.replace('_', '-')}", [one, changed(one, color=color)]
    for move in get_args(GeometricName):
        yield f"box-{move.replace('_', '-')}", [one, changed(one, geometric=move)]
    config = AugmentConfig(mixup_prob=0.5)
    pictures = [
        strong(sample, others, np.random.default_rng(number), config, ramp=1.0)
        for number, sample in enumerate((one, two, three, background))
    ]
    yield "strong", pictures
    yield (
        "plain",
        [
            plain(item, np.random.default_rng(number), AugmentConfig())
            for number, item in enumerate(tiles)
        ],
    )


def changed(
    sample: Sample, *, color: ColorName | None = None, geometric: GeometricName | None = None
) -> Sample:
    """Return the sample with one box-level change at full level; of 40 draws the most visible."""
    policy = BoxPolicy(
        color=color or "color",
        color_prob=1 if color else 0,
        color_level=10,
        geometric=geometric or "flip",
        geometric_prob=1 if geometric else 0,
        geometric_level=10,
    )
    config = BoxLevelConfig(policies=(policy,), object_prob=1)
    results = [
        box_level(sample, np.random.default_rng(seed), config, ramp=1.0) for seed in range(40)
    ]
    return max(results, key=lambda item: np.abs(item.image.astype(int) - sample.image).mean())


def draw(sample: Sample, names: tuple[str, ...]) -> Image:
    """Return the picture with its named boxes."""
    return draw_image(collate([replace(sample, image=sample.image.copy())]), 0, names)


def write(path: Path, cells: list[Image]) -> None:
    """Write pictures side by side on white."""
    height = max(cell.shape[0] for cell in cells)
    width = sum(cell.shape[1] + GAP_PX for cell in cells) - GAP_PX
    row = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for cell in cells:
        row[: cell.shape[0], left : left + cell.shape[1]] = cell
        left += cell.shape[1] + GAP_PX
    cv2.imwrite(str(path), row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
