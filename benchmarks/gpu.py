"""Training steps on a GPU: images/s, where the time goes, memory, against the plain eager formula.

    benchmarks/gpu.sh                                  # T, S and M at 640 pixels in bf16 and fp32
    python benchmarks/gpu.py --device cpu --models damo-yolo-ns --image-size 64 --batch 2 --steps 2

Needs torch, numpy, pydantic, pyyaml and this repository; no data. Batches are noise with as many
objects an image as asked. A step is forward, assignment and losses, backward, SGD and the moving
average. `eager` is the published way, as in benchmarks/step.py: tensors channel after channel,
assignment and losses by the formula, image by image (tests/published_assignment.py,
tests/published_loss.py). Prints one JSON.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # neither installed nor a package here

from damo_yolo.assignment.align_ota import Objects  # noqa: E402 - after the path
from damo_yolo.losses.detection import DetectionLoss  # noqa: E402
from damo_yolo.models.detector import DetectorOutput  # noqa: E402
from damo_yolo.models.zoo import build_detector  # noqa: E402
from damo_yolo.training.ema import WeightAverage  # noqa: E402
from tests.published_loss import assign, charge  # noqa: E402

WARM_UP = 3
PARTS = ("forward", "loss", "backward", "update")
NUM_CLASSES = 80
Target = tuple[Tensor, Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--models", nargs="+", default=["damo-yolo-t", "damo-yolo-s", "damo-yolo-m"]
    )
    parser.add_argument("--precisions", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--objects", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="torch.compile the detector too")
    options = parser.parse_args()
    device = torch.device(options.device)
    rows = [
        row(name, precision, kind, device=device, options=options)
        for name in options.models
        for precision in options.precisions
        for kind in ("ours", "eager", *(["ours compiled"] if options.compile else []))
    ]
    report = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "machine": platform.machine(),
        "versions": {
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "python": platform.python_version(),
        },
        "tf32": {  # of fp32 rows: whether convolutions and products may round to it
            "convolutions": torch.backends.cudnn.allow_tf32,
            "products": torch.backends.cuda.matmul.allow_tf32,
        },
        "image_size": options.image_size,
        "batch": options.batch,
        "objects_per_image": options.objects,
        "num_classes": NUM_CLASSES,
        "rows": rows,
    }
    print(json.dumps(report, indent=1))


def row(
    name: str, precision: str, kind: str, *, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one model at one precision; one that does not fit says so, and the others go on."""
    title: dict[str, Any] = {"model": name, "precision": precision, "kind": kind}
    try:
        return title | measure(name, precision, kind, device=device, options=options)
    except torch.cuda.OutOfMemoryError:
        return title | {"failed": "out of memory"}
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()


def measure(
    name: str, precision: str, kind: str, *, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Return speed and memory of steps as they come, then where time goes, part by part."""
    step = make_step(name, precision, kind, device=device, options=options)
    for _ in range(WARM_UP):
        step(lambda: None)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start = clock(device)
    for _ in range(options.steps):
        loss = step(lambda: None)
    step_s = (clock(device) - start) / options.steps
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    times = dict.fromkeys(PARTS, 0.0)
    marks: list[float] = []
    for _ in range(options.steps):  # waits for the device after every part: slower in sum
        marks[:] = [clock(device)]
        step(lambda: marks.append(clock(device)))
        for part, began, ended in zip(PARTS, marks, marks[1:], strict=False):
            times[part] += (ended - began) / options.steps
    return {
        "images_per_s": round(options.batch / step_s, 1),
        "step_ms": round(1000 * step_s, 2),
        "split_ms": {part: round(1000 * value, 2) for part, value in times.items()},
        "assignment_and_loss_share": round(times["loss"] / sum(times.values()), 4),
        "peak_memory_mib": None if peak is None else round(peak),
        "loss": round(float(loss), 4),
    }


def make_step(
    name: str, precision: str, kind: str, *, device: torch.device, options: argparse.Namespace
) -> Callable[[Callable[[], None]], Tensor]:
    """Return a function that takes a step and returns its loss; it calls back after every part."""
    torch.manual_seed(0)
    layout = torch.contiguous_format if kind == "eager" else torch.channels_last
    detector = build_detector(name, num_classes=NUM_CLASSES).to(device).train()
    detector.to(memory_format=layout)  # type: ignore[call-overload]  # missing in stubs
    if kind == "ours compiled":
        detector.compile()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    average = WeightAverage(detector)
    charge_batch = eager_loss if kind == "eager" else closed_loss(DetectionLoss())
    images, target = make_batch(options, device)
    images = images.contiguous(memory_format=layout)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def step(part_done: Callable[[], None]) -> Tensor:
        with torch.autocast(device.type, dtype=dtype, enabled=precision == "bf16"):
            output = detector(images)
        part_done()
        loss = charge_batch(output, target)
        part_done()
        torch.autograd.backward(loss)
        part_done()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(detector, keep=0.999)
        part_done()
        return loss.detach()

    return step


def closed_loss(loss: nn.Module) -> Callable[[DetectorOutput, Target], Tensor]:
    """Return this project's loss as a function of output and target."""

    def charge_all(output: DetectorOutput, target: Target) -> Tensor:
        total: Tensor = loss(output, *target).total
        return total

    return charge_all


def eager_loss(output: DetectorOutput, target: Target) -> Tensor:
    """Return the loss by the published formula: every class of every pair, image by image."""
    objects = Objects(*target)
    output = output._replace(class_logits=output.class_logits.float())
    return charge(output, objects, *assign(output, objects)).total


def make_batch(options: argparse.Namespace, device: torch.device) -> tuple[Tensor, Target]:
    """Return noise, and objects of log-uniform size."""
    generator = torch.Generator().manual_seed(0)
    side, shape = options.image_size, (options.batch, options.objects)
    images = torch.rand(options.batch, 3, side, side, generator=generator) * 255
    centres = torch.rand(*shape, 2, generator=generator) * side
    half = 4 * (side / 8) ** torch.rand(*shape, 2, generator=generator)
    boxes = torch.cat((centres - half, centres + half), dim=-1).clamp(0, side)
    labels = torch.randint(NUM_CLASSES, shape, generator=generator)
    valid = torch.ones(shape, dtype=torch.bool)
    target = (boxes.to(device), labels.to(device), valid.to(device))
    return images.to(device), target


def clock(device: torch.device) -> float:
    """Return seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
