"""What one core augments in a second: this loader against four decodes for every mosaic.

    python benchmarks/loading.py SHARDS PLAN [--image-size 640] [--samples 160] [--rounds 5]

All read the same shards, take turns and count CPU time; a figure is the best of the rounds. The
rivals build the plain mosaic by PIL or OpenCV: decode four images, stretch, lay out, one affine,
flip. "mosaic" here does the same with one decode for each; "strong" adds mixup and box-level
changes at full strength; "plain" is the last phase.
"""

import argparse
import io
import json
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from damo_yolo import storage
from damo_yolo.augment.box_level import BoxLevelConfig
from damo_yolo.augment.geometry import Affine
from damo_yolo.augment.policy import AugmentConfig, Phase
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import ShardReader

GLOBAL_BATCH = 16
NUM_LANES = 4
RESULTS = Path(__file__).parent / "results" / "loading.json"
Pixels = NDArray[np.uint8]
MOSAIC_ONLY = AugmentConfig(mixup_prob=0, box_level=BoxLevelConfig(enabled=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shards")
    parser.add_argument("plan")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    num_batches = -(-options.samples // GLOBAL_BATCH)
    side = options.image_size

    def ours(augment: AugmentConfig, phase: Phase) -> Callable[[], float]:
        config = LoaderConfig(
            image_size=side,
            global_batch=GLOBAL_BATCH,
            num_lanes=NUM_LANES,
            ramp_epochs=1,
            augment=augment,
        )
        loader = TrainLoader(options.shards, options.plan, config, seed=0)
        batches = chain.from_iterable(loader.epoch(epoch, phase=phase) for epoch in count(1))
        for _ in range(-(-NUM_LANES * (config.window + 1) // GLOBAL_BATCH)):
            next(batches)  # their images were decoded ahead: no decode would be counted for them
        return lambda: samples_per_second(lambda: next(batches), num_batches, GLOBAL_BATCH)

    def rival(library: "Library") -> Callable[[], float]:
        manifest = Manifest.load(storage.join(options.shards, "train"))
        pictures = four_decodes(manifest, side, library)
        return lambda: samples_per_second(lambda: next(pictures), options.samples // 4, 1)

    sides = {
        "four PIL decodes": rival(PIL),
        "four OpenCV decodes": rival(OPENCV),
        "mosaic": ours(MOSAIC_ONLY, "mosaic"),
        "strong": ours(AugmentConfig(), "mosaic"),
        "plain": ours(AugmentConfig(), "plain"),
    }
    rates = dict.fromkeys(sides, 0.0)
    for _ in range(options.rounds):
        for name, measure in sides.items():
            rates[name] = max(rates[name], measure())
    pil, opencv = (rates[f"four {name} decodes"] for name in ("PIL", "OpenCV"))
    print("| | samples per CPU second | times PIL | times OpenCV |\n|---|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.0f} | {rate / pil:.2f} | {rate / opencv:.2f} |")
    report = {
        "command": "python benchmarks/loading.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one core",
        "opencv": cv2.__version__,
        "pillow": version("pillow"),
        "image_size": side,
        "samples_per_cpu_s": {name: round(rate, 1) for name, rate in rates.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


def samples_per_second(make: Callable[[], object], repeats: int, samples_each: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        make()
    return repeats * samples_each / (time.process_time() - start)


class Library(NamedTuple):
    """How a rival decodes and stretches, and how it looks at the canvas."""

    tile: Callable[[bytes, int], Pixels]
    """JPEG and side -> (side, side, 3) RGB."""
    warp: Callable[[Pixels, Affine, int, bool], object]


def four_decodes(manifest: Manifest, side: int, library: Library) -> Iterator[object]:
    """Yield network images as a loader makes them that decodes every part of every mosaic."""
    cv2.setNumThreads(0)
    rng = np.random.default_rng(0)
    with ShardReader(manifest) as reader:
        rows = (int(rng.integers(len(manifest))) for _ in count())
        images = (sample.image for sample in reader.stream(rows))
        while parts := list(islice(images, 4)):
            canvas = np.full((2 * side, 2 * side, 3), 114, np.uint8)
            x, y = (int(v) for v in rng.integers(side // 2, side * 3 // 2, 2))
            for place, data in enumerate(parts):
                tile = library.tile(data, side)
                left, top = x - side * (place % 2 == 0), y - side * (place < 2)
                x1, y1 = max(left, 0), max(top, 0)
                x2, y2 = min(left + side, 2 * side), min(top + side, 2 * side)
                canvas[y1:y2, x1:x2] = tile[y1 - top : y2 - top, x1 - left : x2 - left]
            view = Affine(rotation_deg=rng.uniform(-10, 10), scale=rng.uniform(0.1, 2))
            yield library.warp(canvas, view, side, rng.random() < 0.5)


def opencv_tile(data: bytes, side: int) -> Pixels:
    blue_first = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert blue_first is not None
    rgb = cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB)
    return cast("Pixels", cv2.resize(rgb, (side, side)))


def opencv_warp(canvas: Pixels, view: Affine, side: int, mirrored: bool) -> object:  # noqa: FBT001 - of a callable
    matrix = view.matrix((2 * side, 2 * side), (side, side))[:2]
    picture = cv2.warpAffine(canvas, matrix, (side, side), borderValue=(114,) * 3)
    return cv2.flip(picture, 1) if mirrored else picture


def pil_tile(data: bytes, side: int) -> Pixels:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def pil_warp(canvas: Pixels, view: Affine, side: int, mirrored: bool) -> object:  # noqa: FBT001 - of a callable
    inverse = np.linalg.inv(view.matrix((2 * side, 2 * side), (side, side)))
    picture = Image.fromarray(canvas).transform(
        (side, side),
        Image.Transform.AFFINE,
        tuple(inverse[:2].reshape(-1)),
        Image.Resampling.BILINEAR,
        fillcolor=(114,) * 3,
    )
    if mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(picture)


OPENCV = Library(opencv_tile, opencv_warp)
PIL = Library(pil_tile, pil_warp)


if __name__ == "__main__":
    main()
