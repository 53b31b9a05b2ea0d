"""What one core augments in a second: this loader against four OpenCV decodes for every mosaic.

    python benchmarks/loading.py SHARDS PLAN [--image-size 640] [--samples 320]

Both read the same shards and count CPU time. The rival builds the plain mosaic: decode four images
with OpenCV, stretch, lay out, one affine. "mosaic" here does the same with one decode for each;
"strong" adds mixup and box-level changes at full strength.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import chain, count, islice

import cv2
import numpy as np

from damo_yolo import storage
from damo_yolo.augment.box_level import BoxLevelConfig
from damo_yolo.augment.geometry import Affine
from damo_yolo.augment.policy import AugmentConfig, Phase
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.shards.manifest import Manifest
from damo_yolo.shards.read import ShardReader

GLOBAL_BATCH = 16
MOSAIC_ONLY = AugmentConfig(mixup_prob=0, box_level=BoxLevelConfig(enabled=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards")
    parser.add_argument("plan")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--samples", type=int, default=320)
    options = parser.parse_args()
    num_batches = -(-options.samples // GLOBAL_BATCH)

    def ours(augment: AugmentConfig, phase: Phase) -> float:
        config = LoaderConfig(
            image_size=options.image_size,
            global_batch=GLOBAL_BATCH,
            num_lanes=4,
            ramp_epochs=1,
            augment=augment,
        )
        loader = TrainLoader(options.shards, options.plan, config, seed=0)
        batches = chain.from_iterable(loader.epoch(epoch, phase=phase) for epoch in count(1))
        next(batches)  # reads the windows ahead
        return samples_per_second(lambda: next(batches), num_batches, GLOBAL_BATCH)

    manifest = Manifest.load(storage.join(options.shards, "train"))
    pictures = four_decodes(manifest, options.image_size)
    rival = samples_per_second(lambda: next(pictures), options.samples // 4, 1)
    print(f"four OpenCV decodes {rival:8.1f} samples per CPU second")
    for name, rate in (
        ("mosaic", ours(MOSAIC_ONLY, "mosaic")),
        ("strong", ours(AugmentConfig(), "mosaic")),
        ("plain", ours(AugmentConfig(), "plain")),
    ):
        print(f"{name:19} {rate:8.1f} samples per CPU second, {rate / rival:.2f} times as many")


def samples_per_second(make: Callable[[], object], repeats: int, samples_each: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        make()
    return repeats * samples_each / (time.process_time() - start)


def four_decodes(manifest: Manifest, side: int) -> Iterator[object]:
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
                blue_first = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
                assert blue_first is not None
                tile = cv2.resize(cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB), (side, side))
                left, top = x - side * (place % 2 == 0), y - side * (place < 2)
                x1, y1 = max(left, 0), max(top, 0)
                x2, y2 = min(left + side, 2 * side), min(top + side, 2 * side)
                canvas[y1:y2, x1:x2] = tile[y1 - top : y2 - top, x1 - left : x2 - left]
            view = Affine(rotation_deg=rng.uniform(-10, 10), scale=rng.uniform(0.1, 2))
            matrix = view.matrix((2 * side, 2 * side), (side, side))[:2]
            yield cv2.warpAffine(canvas, matrix, (side, side), borderValue=(114,) * 3)


if __name__ == "__main__":
    main()
