"""Speed and memory of assignment and losses: `python benchmarks/assignment.py`.

The opponent is the published formula evaluated word for word, one image at a time
(tests/published_assignment.py). Both sides run interleaved in one process on one thread; figures
are medians of CPU time, which other processes on the machine hardly touch.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from damo_yolo.assignment.align_ota import Objects, align_ota
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.detector import DetectorOutput
from damo_yolo.models.zoo import build_detector

IMAGES, SIDE = 4, 640
CASES = ((80, 7), (80, 30), (80, 100), (701, 30))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {IMAGES} images of {SIDE} pixels\n")
    print("| classes | objects | literal ms/image | ours | faster | literal MiB | ours | memory |")
    print("|---|---|---|---|---|---|---|---|")
    for num_classes, num_objects in CASES:
        print(_assignment_row(num_classes, num_objects, options.repeats), flush=True)
    print("\n| classes | step ms | assignment and losses ms | share of the step |")
    print("|---|---|---|---|")
    for num_classes in (80, 701):
        print(_step_row(num_classes, options.repeats), flush=True)


def _assignment_row(num_classes: int, num_objects: int, repeats: int) -> str:
    inputs = _inputs(num_classes, num_objects)
    literal, ours = _interleaved(
        (lambda: _literal(inputs), lambda: align_ota(*inputs)), repeats=repeats
    )
    times = f"{literal / IMAGES * 1e3:.1f} | {ours / IMAGES * 1e3:.2f} | {literal / ours:.0f}x"
    before, after = _peak_mib(lambda: _literal(inputs)), _peak_mib(lambda: align_ota(*inputs))
    memory = f"{before:.0f} | {after:.1f} | 1/{before / after:.0f}"
    return f"| {num_classes} | {num_objects} | {times} | {memory} |"


def _step_row(num_classes: int, repeats: int) -> str:
    torch.manual_seed(0)
    detector = build_detector("damo-yolo-t", num_classes=num_classes).train()
    images = torch.rand(IMAGES, 3, SIDE, SIDE) * 255
    objects, loss = _objects(num_classes, 30), DetectionLoss()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    output: DetectorOutput = detector(images)
    leaves = [value.detach().requires_grad_() for value in output[:3]]

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(loss(detector(images), *objects).total)
        optimizer.step()

    def loss_alone() -> None:
        logits, sides, boxes = leaves
        given = output._replace(class_logits=logits, side_logits=sides, boxes=boxes)
        torch.autograd.grad(loss(given, *objects).total, leaves)

    whole, part = _interleaved((step, loss_alone), repeats=repeats)
    return f"| {num_classes} | {whole * 1e3:.0f} | {part * 1e3:.0f} | {part / whole:.1%} |"


def _inputs(num_classes: int, num_objects: int) -> tuple[Tensor, ...]:
    """Scores, boxes, points, strides and objects of a half-trained detector."""
    generator = torch.Generator().manual_seed(1)
    objects = _objects(num_classes, num_objects)
    points = torch.cat([_points(stride) for stride in (8, 16, 32)])
    counts = [(SIDE // stride) ** 2 for stride in (8, 16, 32)]
    strides = torch.repeat_interleave(torch.tensor([8.0, 16.0, 32.0]), torch.tensor(counts))
    scores = (torch.randn(IMAGES, len(points), num_classes, generator=generator) - 3).sigmoid()
    pick = torch.randint(num_objects, (IMAGES, len(points)), generator=generator)
    near = objects.boxes[torch.arange(IMAGES).unsqueeze(1), pick]
    jitter = torch.randn(near.shape, generator=generator) * strides.unsqueeze(-1)
    return (scores, near + jitter, points, strides.unsqueeze(-1), *objects)


def _points(stride: int) -> Tensor:
    steps = torch.arange(SIDE // stride) * float(stride)
    return torch.cartesian_prod(steps, steps).flip(-1)


def _objects(num_classes: int, num_objects: int) -> Objects:
    """Objects with sides log-uniform between 10 and 320 pixels, as mosaics have them."""
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, num_objects)
    half = 5 * 32 ** torch.rand(*shape, 2, generator=generator)
    centres = torch.rand(*shape, 2, generator=generator) * SIDE
    boxes = torch.cat((centres - half, centres + half), dim=-1).clamp(0, SIDE)
    labels = torch.randint(num_classes, shape, generator=generator)
    return Objects(boxes, labels, torch.ones(shape, dtype=torch.bool))


def _literal(inputs: tuple[Tensor, ...]) -> None:
    scores, boxes, points, strides, gt_boxes, gt_labels, _ = inputs
    oracle = _oracle()
    for image in range(len(scores)):
        at = (scores[image], boxes[image], points, strides, gt_boxes[image], gt_labels[image])
        oracle.assign_image(*at)


def _oracle() -> Any:
    path = Path(__file__).parents[1] / "tests" / "published_assignment.py"
    spec = importlib.util.spec_from_file_location("published_assignment", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _interleaved(sides: tuple[Callable[[], Any], ...], *, repeats: int) -> list[float]:
    """Return the median CPU seconds of each side, after one warm-up each."""
    times: list[list[float]] = [[] for _ in sides]
    for repeat in range(repeats + 1):
        for kept, run in zip(times, sides, strict=True):
            start = time.process_time()
            run()
            if repeat:
                kept.append(time.process_time() - start)
    return [statistics.median(kept) for kept in times]


def _peak_mib(run: Callable[[], Any]) -> float:
    """Return the most memory that tensors made by `run` hold at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = profiler.profiler.kineto_results.events()
    sizes = [event.nbytes() for event in events if event.name() == "[memory]"]
    return float(max(accumulate(sizes))) / 2**20


if __name__ == "__main__":
    main()
