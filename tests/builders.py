"""Small inputs for tests: no downloads, no files, numbers from seeded generators.

Shapes: B images, G objects padded over the batch, A anchor points, C classes, R bins a side.
"""

import torch
from torch import Tensor

from damo_yolo.assignment.align_ota import Objects
from damo_yolo.models.box_decoder import anchor_points
from damo_yolo.models.detector import DetectorOutput

STRIDES = (8, 16, 32)


def make_points(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return (A, 2) anchor points and (A, 1) strides of an image."""
    return anchor_points([(height // s, width // s) for s in STRIDES], STRIDES)


def make_objects(
    counts: list[int],
    num_classes: int,
    *,
    generator: torch.Generator,
    size: tuple[int, int] = (256, 320),
    num_padded: int = 0,
) -> Objects:
    """Return objects of log-uniform size, as many per image as `counts` says, in random columns.

    Args:
        counts: number of objects of each image.
        num_classes: number of classes C.
        generator: source of the numbers.
        size: height and width of the images in pixels.
        num_padded: columns beyond the largest count.
    """
    num_columns = max(counts) + num_padded
    shape = (len(counts), num_columns)
    scale = torch.tensor([size[1], size[0]], dtype=torch.float32)
    centres = torch.rand(*shape, 2, generator=generator) * scale
    half = 4 * (scale / 8) ** torch.rand(*shape, 2, generator=generator)
    corners = torch.cat((centres - half, centres + half), dim=-1)
    boxes = corners.clamp(min=0).minimum(torch.cat((scale, scale)))
    labels = torch.randint(num_classes, shape, generator=generator)
    order = torch.rand(*shape, generator=generator).argsort(dim=1)
    valid = order < torch.tensor(counts).unsqueeze(1)
    return Objects(boxes, labels, valid)


def make_output(
    objects: Objects,
    num_classes: int,
    *,
    generator: torch.Generator,
    size: tuple[int, int] = (256, 320),
    reg_max: int = 16,
) -> DetectorOutput:
    """Return what a half-trained detector might say: boxes near the objects, scores near 0.1.

    Logits and boxes are leaves that want a gradient; the boxes do not depend on the side logits.
    """
    points, strides = make_points(*size)
    num_images, num_points = len(objects.boxes), len(points)
    logits = torch.randn(num_images, num_points, num_classes, generator=generator) * 2 - 2
    sides = torch.randn(num_images, num_points, 4, reg_max + 1, generator=generator)
    distances = strides * (0.3 + 4 * torch.rand(num_images, num_points, 4, generator=generator))
    boxes = torch.cat((points - distances[..., :2], points + distances[..., 2:]), dim=-1)
    near = torch.rand(num_images, num_points, generator=generator) < 0.3
    if objects.boxes.shape[1]:
        pick = torch.randint(objects.boxes.shape[1], (num_images, num_points), generator=generator)
        image = torch.arange(num_images).unsqueeze(1)
        jitter = torch.randn(num_images, num_points, 4, generator=generator) * strides / 4
        boxes = torch.where(near.unsqueeze(-1), objects.boxes[image, pick] + jitter, boxes)
    none = torch.zeros(0)
    for leaf in (logits, sides, boxes):
        leaf.requires_grad_()
    return DetectorOutput(logits, sides, boxes, points, strides, (none, none, none))
