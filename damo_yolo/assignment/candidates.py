"""Which anchor points an object may take: those inside its box or near its centre.

Shapes: B images, G objects, A anchor points, V anchor points any object of the image may take.

Masks stay float margins as long as they can: on a CPU, one comparison that writes bool costs as
much as five float operations over the same (B, G, A).
"""

from typing import NamedTuple

import torch
from torch import Tensor

CENTRE_RADIUS = 2.5
"""Half the side of the square around an object's centre, in strides (facts, section 5)."""


class Candidates(NamedTuple):
    """The anchor points that matter to each image, packed to the left."""

    anchors: Tensor
    """(B, V) anchor point of each slot; 0 where the slot is empty."""
    filled: Tensor
    """(B, V) bool, False where an image has fewer than V of them."""
    outside: Tensor
    """(B, G, V) float, 1 where the point is not both inside the box and near the centre."""


def find_candidates(points: Tensor, strides: Tensor, gt_boxes: Tensor) -> Candidates:
    """Pack the anchor points that lie inside a box or near a centre.

    Args:
        points: (A, 2) anchor points as x, y in pixels.
        strides: (A, 1) pixels per feature cell.
        gt_boxes: (B, G, 4) boxes; a padded one must lie far from every point.
    """
    inside = box_margin(points, gt_boxes)
    near = centre_margin(points, strides, gt_boxes)
    reachable = torch.maximum(inside, near).amax(dim=1) > 0  # (B, A)
    both = torch.minimum(inside, near, out=inside)
    anchors, filled = _pack(reachable)
    slots = anchors.unsqueeze(1).expand(-1, gt_boxes.shape[1], -1)  # (B, G, V)
    return Candidates(anchors, filled, outside=both.gather(2, slots).le_(0))


def box_margin(points: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return (B, G, A) pixels to the nearest side, positive strictly inside the box."""
    x, y = points[:, 0].contiguous(), points[:, 1].contiguous()
    left, top, right, bottom = gt_boxes.unsqueeze(-2).unbind(-1)  # (B, G, 1) each
    margin = x - left
    torch.minimum(margin, right - x, out=margin)
    torch.minimum(margin, y - top, out=margin)
    return torch.minimum(margin, bottom - y, out=margin)


def centre_margin(points: Tensor, strides: Tensor, gt_boxes: Tensor) -> Tensor:
    """Return (B, G, A) pixels to the rim of the centre square, positive strictly inside it.

    The square is drawn around the anchor point instead of the centre: the sign is the same, and
    the sum of a point and a few strides is exact.
    """
    reach = strides.squeeze(-1) * CENTRE_RADIUS  # (A,)
    x, y = points[:, 0], points[:, 1]
    centres = (gt_boxes[..., :2] + gt_boxes[..., 2:]) / 2
    x_centre, y_centre = centres.unsqueeze(-2).unbind(-1)  # (B, G, 1) each
    margin = x_centre - (x - reach)
    torch.minimum(margin, (x + reach) - x_centre, out=margin)
    torch.minimum(margin, y_centre - (y - reach), out=margin)
    return torch.minimum(margin, (y + reach) - y_centre, out=margin)


def _pack(reachable: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a (B, A) mask into (B, V) indices of its true entries and the mask of filled slots."""
    counts = reachable.sum(dim=1)
    num_slots = int(counts.max())
    image, anchor = reachable.nonzero(as_tuple=True)
    slot = (reachable.cumsum(dim=1) - 1)[image, anchor]
    index = torch.zeros(len(counts), num_slots, dtype=torch.long, device=reachable.device)
    index[image, slot] = anchor
    slots = torch.arange(num_slots, device=reachable.device)
    return index, slots < counts.unsqueeze(1)
