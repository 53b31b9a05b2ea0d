"""The published AlignOTA written out word for word, one image at a time: the oracle of the tests.

It builds the full (V, G, C) tensor of the formula, which is why nobody should train with it.
Source: facts, section 5. Shapes: A anchor points, V valid ones, G objects, C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from damo_yolo.boxes import pairwise_iou


class ImageAssignment(NamedTuple):
    """What the formula says of one image."""

    gt_index: Tensor
    """(A,) object of each anchor point, -1 for background."""
    iou: Tensor
    """(A,) IoU with that object, 0 for background."""
    tied: bool
    """Whether a decision hangs on two costs that are equal but for rounding."""


def assign_image(  # noqa: PLR0913, PLR0917 -- as many inputs as the formula has
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    strides: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    known: Tensor | None = None,
) -> ImageAssignment:
    """Assign one image; shapes as in `align_ota` without the leading B and without padding."""
    gt_index = torch.full((len(points),), -1)
    overlaps = torch.zeros(len(points))
    inside, near = _inside_box(points, gt_boxes), _near_centre(points, strides, gt_boxes)
    valid = (inside | near).any(dim=1)
    if len(gt_boxes) == 0 or not valid.any():
        return ImageAssignment(gt_index, overlaps, tied=False)
    iou = pairwise_iou(boxes[valid], gt_boxes)  # (V, G)
    cost = _class_cost(scores[valid], gt_labels, iou, known) - 3 * (iou + 1e-7).log()
    cost = cost + 1e8 * ~(inside & near)[valid]
    matched = torch.zeros_like(cost, dtype=torch.bool)
    ties = []
    for column in range(len(gt_boxes)):
        best = iou[:, column].topk(min(10, len(iou))).values
        k = max(1, int(best.sum()))
        order = cost[:, column].sort().values
        ties.append(k < len(order) and _equal(order[k - 1], order[k]))
        ties.append(_equal(best.sum(), best.sum().round()))  # k itself hangs on rounding
        matched[cost[:, column].topk(k, largest=False).indices, column] = True
    owners = cost.argmin(dim=1)
    for row in (matched.sum(dim=1) > 1).nonzero().flatten():
        order = cost[row].sort().values
        ties.append(_equal(order[0], order[1]))
        matched[row] = False
        matched[row, owners[row]] = True
    rows, columns = matched.nonzero(as_tuple=True)
    anchors = valid.nonzero().flatten()[rows]
    gt_index[anchors], overlaps[anchors] = columns, iou[rows, columns]
    return ImageAssignment(gt_index, overlaps, tied=any(ties))


def _class_cost(scores: Tensor, labels: Tensor, iou: Tensor, known: Tensor | None) -> Tensor:
    one_hot = functional.one_hot(labels, scores.shape[1]).float()  # (G, C)
    target = one_hot.unsqueeze(0) * iou.unsqueeze(-1)  # (V, G, C)
    score = scores.unsqueeze(1).expand_as(target)
    cost = (
        functional.binary_cross_entropy(score, target, reduction="none")
        * (target - score).abs() ** 2
    )
    if known is not None:
        cost = cost * (known | one_hot.bool())
    return cost.sum(dim=-1)


def _inside_box(points: Tensor, gt_boxes: Tensor) -> Tensor:
    left_top = points.unsqueeze(1) - gt_boxes[:, :2]
    right_bottom = gt_boxes[:, 2:] - points.unsqueeze(1)
    return torch.cat((left_top, right_bottom), dim=-1).amin(dim=-1) > 0  # (A, G)


def _near_centre(points: Tensor, strides: Tensor, gt_boxes: Tensor) -> Tensor:
    centres = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    reach = 2.5 * strides.unsqueeze(1)  # (A, 1, 1)
    left_top = points.unsqueeze(1) - (centres - reach)
    right_bottom = (centres + reach) - points.unsqueeze(1)
    return torch.cat((left_top, right_bottom), dim=-1).amin(dim=-1) > 0


def _equal(cost: Tensor, other: Tensor) -> bool:
    return bool((cost - other).abs() <= 1e-5 * other.abs() + 1e-5)
