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
    pair_cost: Tensor
    """(V, G) cost of every pair."""
    pair_iou: Tensor
    """(V, G) IoU of every pair."""

    def is_tied(self) -> bool:
        """Return whether a decision hangs on two numbers that are equal but for rounding."""
        ties = []
        for cost, iou in zip(self.pair_cost.T, self.pair_iou.T, strict=True):
            best = iou.topk(min(10, len(iou))).values.sum()
            ties.append(_equal(best, best.round()))  # k itself hangs on rounding
            k, order = max(1, int(best)), cost.sort().values
            ties.append(_equal(order[k - 1 : k], order[k : k + 1]))
        if self.pair_cost.shape[1] > 1:
            first, second = self.pair_cost.topk(2, dim=1, largest=False).values.T
            inside = second < 1e7  # the others tie already at the object's k
            close = torch.isclose(first[inside], second[inside], rtol=1e-5, atol=1e-5)
            ties.append(bool(close.any()))
        return any(ties)


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
        none = torch.zeros(0, 0)
        return ImageAssignment(gt_index, overlaps, none, none)
    iou = pairwise_iou(boxes[valid], gt_boxes)  # (V, G)
    cost = _class_cost(scores[valid], gt_labels, iou, known) - 3 * (iou + 1e-7).log()
    cost = cost + 1e8 * ~(inside & near)[valid]
    matched = torch.zeros_like(cost, dtype=torch.bool)
    for column in range(len(gt_boxes)):
        k = max(1, int(iou[:, column].topk(min(10, len(iou))).values.sum()))
        matched[cost[:, column].topk(k, largest=False).indices, column] = True
    contested = matched.sum(dim=1) > 1
    matched[contested] = functional.one_hot(cost[contested].argmin(dim=1), len(gt_boxes)).bool()
    rows, columns = matched.nonzero(as_tuple=True)
    anchors = valid.nonzero().flatten()[rows]
    gt_index[anchors], overlaps[anchors] = columns, iou[rows, columns]
    return ImageAssignment(gt_index, overlaps, cost, iou)


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


def _equal(values: Tensor, others: Tensor) -> bool:
    return len(others.flatten()) > 0 and torch.allclose(values, others, rtol=1e-5, atol=1e-5)
