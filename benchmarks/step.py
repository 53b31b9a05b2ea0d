"""Whole training step against the plain eager one: `python benchmarks/step.py`.

Both sides train damo-yolo-t by SGD on the same images: forward, assignment, losses, backward,
update, moving average. The plain side is the published way in eager torch: tensors channel after
channel, the assignment evaluated word for word image by image, losses on dense targets
(tests/published_loss.py). Ours has the settings that training uses. Sides take turns in one
process; figures are medians of CPU time.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from timing import interleaved, parse_repeats
from torch import Tensor, nn

from damo_yolo.assignment.align_ota import Objects
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.zoo import build_detector
from damo_yolo.training.config import OptimizerConfig
from damo_yolo.training.ema import WeightAverage
from damo_yolo.training.optim import build_optimizer, set_learning_rate

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import published_loss

IMAGES, SIDE = 4, 640
Step = Callable[[], None]


def main() -> None:
    repeats = parse_repeats(__doc__, default=5)
    print(f"{IMAGES} images of {SIDE} pixels")
    print("\n| objects | plain ms | channels last | and closed form | ours of plain |")
    print("|---|---|---|---|---|")
    for num_objects in (7, 30):
        print(_row(num_objects, repeats), flush=True)


def _row(num_objects: int, repeats: int) -> str:
    sides = (
        _plain_step(num_objects, torch.contiguous_format),
        _plain_step(num_objects, torch.channels_last),
        _our_step(num_objects),
    )
    plain, layout, ours = (seconds * 1e3 for seconds in interleaved(sides, repeats=repeats))
    return f"| {num_objects} | {plain:.0f} | {layout:.0f} | {ours:.0f} | {ours / plain:.2f}x |"


def _plain_step(num_objects: int, layout: torch.memory_format) -> Step:
    model, images, objects, update = _prepare(num_objects, layout)

    def step() -> None:
        output = model(images)
        assigned = published_loss.assign(output, objects)
        update(published_loss.charge(output, objects, *assigned).total)

    return step


def _our_step(num_objects: int) -> Step:
    model, images, objects, update = _prepare(num_objects, torch.channels_last)
    loss = DetectionLoss()
    return lambda: update(loss(model(images), *objects).total)


def _prepare(
    num_objects: int, layout: torch.memory_format
) -> tuple[nn.Module, Tensor, Objects, Callable[[Tensor], None]]:
    torch.manual_seed(0)
    model = build_detector("damo-yolo-t", num_classes=80).train()
    model = model.to(memory_format=layout)
    images = (torch.rand(IMAGES, 3, SIDE, SIDE) * 255).contiguous(memory_format=layout)
    optimizer, average = build_optimizer(model, OptimizerConfig()), WeightAverage(model)
    set_learning_rate(optimizer, 1e-6)

    def update(total: Tensor) -> None:
        torch.autograd.backward(total)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(model, keep=0.999)

    return model, images, _objects(num_objects), update


def _objects(num_objects: int) -> Objects:
    """Objects with sides log-uniform between 10 and 320 pixels, as mosaics have them."""
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, num_objects)
    half = 5 * 32 ** torch.rand(*shape, 2, generator=generator)
    centres = torch.rand(*shape, 2, generator=generator) * SIDE
    boxes = torch.cat((centres - half, centres + half), dim=-1).clamp(0, SIDE)
    labels = torch.randint(80, shape, generator=generator)
    return Objects(boxes, labels, torch.ones(shape, dtype=torch.bool))


if __name__ == "__main__":
    main()
