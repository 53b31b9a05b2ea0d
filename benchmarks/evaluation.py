"""Exactness, speed and memory of average precision: `python benchmarks/evaluation.py`.

5000 images, 80 classes, 100 detections an image, 1 % of the objects crowds: once by hotcoco, which
this project uses, once by pycocotools, which defines the figures. Then the memory of 80,000 images
of 701 classes, whose detections come from a generator; with `--memory` only that. CPU time of one
thread, which other processes on the machine hardly touch.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")  # hotcoco's threads

import numpy as np

from damo_yolo.evaluation.coco_ap import ApTally, average_precision
from damo_yolo.evaluation.cross_check import largest_difference, pycocotools_precision
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections

RESULT = Path(__file__).parent / "results" / "evaluation.json"
PER_IMAGE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="memory of 701 classes only")
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(_memory(options.memory, num_classes=701)))
        return
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {_processor()}, one thread",
        "versions": {name: metadata.version(name) for name in ("hotcoco", "pycocotools", "numpy")},
        "speed": _speed(options.images, num_classes=80),
        "memory": [_apart(images) for images in (20_000, 80_000)],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def _speed(num_images: int, *, num_classes: int) -> dict[str, float]:
    pairs = list(_images(num_images, num_classes))
    truths, found = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    names = [str(i) for i in range(num_classes)]
    start = time.process_time()
    ours = average_precision(found, truths, class_names=names)
    middle = time.process_time()
    theirs = pycocotools_precision(found, truths, class_names=names)
    end = time.process_time()
    return {
        "num_images": num_images,
        "num_classes": num_classes,
        "num_objects": ours.num_objects,
        "num_detections": sum(len(item.scores) for item in found),
        "hotcoco_cpu_s": round(middle - start, 2),
        "pycocotools_cpu_s": round(end - middle, 2),
        "times_faster": round((end - middle) / (middle - start), 1),
        "ap_hotcoco": ours.ap,
        "ap_pycocotools": theirs.ap,
        "largest_difference": largest_difference(ours, theirs),
    }


def _apart(num_images: int) -> dict[str, float]:
    """Measure in a process of its own: a peak is of the whole life of one."""
    command = [sys.executable, __file__, "--memory", str(num_images)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(done.stdout)
    return values


def _memory(num_images: int, *, num_classes: int) -> dict[str, float]:
    before, start = _peak_mib(), time.process_time()
    tally, making = ApTally(num_classes), 0.0
    images = _images(num_images, num_classes)
    for image_id in range(1, num_images + 1):
        begin = time.process_time()
        truth, found = next(images)
        making += time.process_time() - begin
        tally.add(image_id, truth, found)
    result = tally.result([str(i) for i in range(num_classes)])
    return {
        "num_images": num_images,
        "num_classes": num_classes,
        "num_detections": num_images * PER_IMAGE,
        "cpu_s": round(time.process_time() - start - making, 1),
        "peak_mib": round(_peak_mib() - before),
        "peak_bytes_per_detection": round(
            (_peak_mib() - before) * 2**20 / (num_images * PER_IMAGE)
        ),
        "ap": result.ap,
    }


def _images(num_images: int, num_classes: int) -> Iterator[tuple[ImageTruth, Detections]]:
    """Yield images with about seven objects; a third of the detections lies near one of them."""
    rng = np.random.default_rng(0)
    known = np.ones(num_classes, np.bool_)
    for image in range(num_images):
        count = 1 + rng.poisson(6.3)
        boxes, labels = _boxes(rng, count), rng.integers(0, num_classes, count)
        near = rng.integers(0, count, PER_IMAGE // 3)
        far = PER_IMAGE - len(near)
        moved = boxes[near] + rng.normal(0, 5, (len(near), 4))
        key = f"a/{image:06d}"
        truth = ImageTruth(key, "a", boxes, labels, rng.random(count) < 0.01, known)
        found = np.concatenate((moved, _boxes(rng, far))).astype(np.float32)
        classes = np.concatenate((labels[near], rng.integers(0, num_classes, far)))
        scores = np.sort(rng.random(PER_IMAGE).round(3))[::-1].astype(np.float32)
        order = rng.permutation(PER_IMAGE)
        yield truth, Detections(key, found[order], scores, classes[order])


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return (count, 4) boxes with sides log-uniform between 8 and 300 pixels."""
    corners = rng.uniform(0, 400, (count, 2))
    sides = 8 * 37.5 ** rng.random((count, 2))
    return np.concatenate((corners, corners + sides), axis=1).astype(np.float32)


def _peak_mib() -> float:
    """Return the most memory this process has held; the kernel's, as getrusage's is inherited."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
