"""Speed and memory of assignment and losses: `python benchmarks/assignment.py`.

The opponent is the published formula evaluated word for word, one image at a time
(tests/published_assignment.py). Both sides run interleaved in one process on one thread; figures
are medians of CPU time, which other processes on the machine hardly touch.
"""

import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from timing import interleaved, parse_repeats
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from damo_yolo.assignment.align_ota import Objects, align_ota
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.detector import DetectorOutput
from damo_yolo.models.zoo import build_detector

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.published_assignment import assign_image

IMAGES, SIDE = 4, 640
CASES = ((80, 7), (80, 30), (80, 100), (701, 30))
PUBLISHED_MS = {(80, 7): 37, (80, 30): 439, (80, 100): 2579}
"""What the published code took for an image on a core of `PUBLISHED_GFLOPS`, other labels."""
PUBLISHED_GFLOPS = 68.0
"""Convolution arithmetic of one thread of that machine, 1e9 floating-point operations a second."""


def main() -> None:
    repeats = parse_repeats(__doc__, default=5)
    print(f"{IMAGES} images of {SIDE} pixels")
    gflops = _convolution_gflops(repeats)
    print(f"a convolution in this run: {gflops:.0f} GFLOP/s\n")
    print("| classes | objects | literal ms/image | ours | faster | of the published, scaled |")
    print("|---|---|---|---|---|---|")
    for num_classes, num_objects in CASES:
        print(_assignment_row(num_classes, num_objects, gflops, repeats), flush=True)
    print("\n| classes | objects | literal MiB | ours | memory |")
    print("|---|---|---|---|---|")
    for num_classes, num_objects in CASES:
        print(_memory_row(num_classes, num_objects), flush=True)
    print("\n| classes | step ms | assignment and losses ms | share of the step |")
    print("|---|---|---|---|")
    for num_classes in (80, 701):
        print(_step_row(num_classes, repeats), flush=True)


def _convolution_gflops(repeats: int) -> float:
    """Return 1e9 operations a second of a 3x3 convolution, by which machines are compared."""
    convolution, image = nn.Conv2d(64, 64, 3, padding=1), torch.rand(4, 64, 160, 160)
    with torch.no_grad():
        (seconds,) = interleaved((lambda: convolution(image),), repeats=2 * repeats)
    return 2 * 9 * 64 * 64 * image[:, 0].numel() / seconds / 1e9


def _assignment_row(num_classes: int, num_objects: int, gflops: float, repeats: int) -> str:
    inputs = _inputs(num_classes, num_objects)
    literal, ours = interleaved(
        (lambda: _literal(inputs), lambda: align_ota(*inputs)), repeats=repeats
    )
    times = f"{literal / IMAGES * 1e3:.1f} | {ours / IMAGES * 1e3:.2f} | {literal / ours:.0f}x"
    published = PUBLISHED_MS.get((num_classes, num_objects))
    scaled = published and f"{literal / IMAGES * 1e3 / published * gflops / PUBLISHED_GFLOPS:.2f}x"
    return f"| {num_classes} | {num_objects} | {times} | {scaled or '-'} |"


def _memory_row(num_classes: int, num_objects: int) -> str:
    inputs = _inputs(num_classes, num_objects)
    literal, ours = _peak_mib(lambda: _literal(inputs)), _peak_mib(lambda: align_ota(*inputs))
    return (
        f"| {num_classes} | {num_objects} | {literal:.0f} | {ours:.1f} | 1/{literal / ours:.0f} |"
    )


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

    whole, part = interleaved((step, loss_alone), repeats=repeats)
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
    for image in range(len(scores)):
        at = (scores[image], boxes[image], points, strides, gt_boxes[image], gt_labels[image])
        assign_image(*at)


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
