"""AlignOTA: give each object the anchor points whose predictions already fit it best.

Shapes: B images, A anchor points, C classes, G objects padded over the batch, V candidates (anchor
points that any object of an image may take).

No tensor has both an object and a class axis; class_cost.py says why that is exact. The rules are
those of the published code (facts, section 5): cost = class cost + 3 * IoU cost + 1e8 outside,
dynamic k from the ten best overlaps, an anchor point wanted twice goes to its cheapest object.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from damo_yolo.assignment.candidates import Candidates, find_candidates
from damo_yolo.assignment.class_cost import ClassCosts, ClassLogs, ScoreCosts
from damo_yolo.boxes import pairwise_iou
from damo_yolo.errors import DataError

BACKGROUND = -1
"""Index of the object of an anchor point that has none."""

_IOU_WEIGHT = 3.0
_IOU_FLOOR = 1e-7
_OUTSIDE_COST = 1e8
_TOP_K = 10
_FAR = -1e6  # where padded objects are put: no point is inside, no box overlaps
_BYTES_PER_PAIR = 36  # nine float (G, A) tensors live at the worst moment
_CPU_MIB, _DEVICE_MIB = 16, 512


class Objects(NamedTuple):
    """What there is to detect in a batch."""

    boxes: Tensor
    """(B, G, 4) xyxy in pixels."""
    labels: Tensor
    """(B, G) int64 class ids."""
    valid: Tensor
    """(B, G) bool, False where padded."""


def align_ota(  # noqa: PLR0913, PLR0917 -- predictions, points and objects: nothing to spare
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    strides: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    gt_valid: Tensor,
    class_mask: Tensor | None = None,
    *,
    memory_mib: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Assign anchor points to objects, all images at once, in float32 and without gradient.

    Args:
        scores: (B, A, C) scores after sigmoid.
        boxes: (B, A, 4) predicted boxes, xyxy in pixels.
        points: (A, 2) anchor points as x, y in pixels.
        strides: (A, 1) pixels per feature cell.
        gt_boxes: (B, G, 4) objects, xyxy in pixels.
        gt_labels: (B, G) class of each object.
        gt_valid: (B, G) bool, False where padded.
        class_mask: (B, C) bool, True where absence of the class is evidence; None: everywhere.
            An object's own class counts whatever the mask.
        memory_mib: see `assign`.

    Returns:
        (B, A) int64 index of the object, -1 for background; (B, A) float32 IoU of the predicted
        box with that object, 0 for background.

    Raises:
        DataError: the label of an object is not one of the C classes.
    """
    costs = ScoreCosts(scores, class_mask)
    objects = Objects(gt_boxes, gt_labels, gt_valid)
    return assign(costs, boxes, (points, strides), objects, memory_mib=memory_mib)


@torch.no_grad()
def assign(
    costs: ClassCosts,
    boxes: Tensor,
    grid: tuple[Tensor, Tensor],
    objects: Objects,
    *,
    memory_mib: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Assign as `align_ota` does, with class costs from wherever they are at hand.

    Args:
        costs: class costs of the batch.
        boxes: (B, A, 4) predicted boxes, xyxy in pixels.
        grid: (A, 2) anchor points and (A, 1) strides, in pixels.
        objects: what there is to detect.
        memory_mib: memory for intermediate results, exceeded only where one image needs more;
            None: 16 on a CPU, where less memory is faster, and 512 on other devices.

    Returns:
        What `align_ota` returns.

    Raises:
        DataError: the label of an object is not one of the classes.
    """
    _check_labels(objects, costs.num_classes)
    num_images, num_points, _ = boxes.shape
    gt_index = torch.full((num_images, num_points), BACKGROUND, device=boxes.device)
    overlaps = torch.zeros(num_images, num_points, device=boxes.device)
    columns = objects.valid.any(dim=0).nonzero().squeeze(-1)  # (G',) used by any image
    step = _images_at_once(len(columns) * num_points, memory_mib, boxes.device)
    for start in range(0, num_images, step):
        images = slice(start, start + step)
        if step == 1:
            columns = objects.valid[start].nonzero().squeeze(-1)
        if len(columns) == 0:
            continue
        chosen = Objects(*(values[images, columns] for values in objects))
        winner, iou, candidates = _match(costs, images, boxes[images], grid, chosen)
        image, slot = (winner != BACKGROUND).nonzero(as_tuple=True)
        column, anchor = winner[image, slot], candidates.anchors[image, slot]
        gt_index[images][image, anchor] = columns[column]
        overlaps[images][image, anchor] = iou[image, column, slot]
    return gt_index, overlaps


def _check_labels(objects: Objects, num_classes: int) -> None:
    wrong = objects.valid & ((objects.labels < 0) | (objects.labels >= num_classes))
    if wrong.any():
        label = int(objects.labels[wrong][0])
        raise DataError(
            f"an object has class {label}, but the detector has classes 0 to {num_classes - 1}",
            fix="train with num_classes equal to the length of the label space of the shards",
        )


def _images_at_once(pairs: int, memory_mib: int | None, device: torch.device) -> int:
    if memory_mib is None:
        memory_mib = _CPU_MIB if device.type == "cpu" else _DEVICE_MIB
    return max(1, memory_mib * 2**20 // (_BYTES_PER_PAIR * max(1, pairs)))


def _match(
    costs: ClassCosts,
    images: slice,
    boxes: Tensor,
    grid: tuple[Tensor, Tensor],
    objects: Objects,
) -> tuple[Tensor, Tensor, Candidates]:
    """Return the (B, V) object column of each candidate, or -1; the (B, G, V) IoUs; candidates."""
    present = objects.valid.unsqueeze(-1)  # (B, G, 1)
    gt_boxes = objects.boxes.float().where(present, _FAR)
    labels = objects.labels.where(objects.valid, 0)
    candidates = find_candidates(*grid, gt_boxes)
    iou = _overlaps(gt_boxes, boxes, candidates)
    logs = costs.own(images, labels, candidates.anchors)
    known = None if costs.class_mask is None else costs.class_mask[images].gather(1, labels)
    cost = _own_class_cost(logs, iou, known)
    background = costs.background(images, candidates.anchors, candidates.filled)
    cost.add_(background.where(candidates.filled, torch.inf).unsqueeze(1))
    cost.sub_((iou + _IOU_FLOOR).log_(), alpha=_IOU_WEIGHT)
    cost.add_(candidates.outside, alpha=_OUTSIDE_COST)
    cost.masked_fill_(~present, torch.inf)
    return _cheapest(cost, _dynamic_k(iou)), iou, candidates


def _overlaps(gt_boxes: Tensor, boxes: Tensor, candidates: Candidates) -> Tensor:
    """Return (B, G, V) IoUs of objects and predicted boxes, 0 in empty slots."""
    index = candidates.anchors.unsqueeze(1).expand(-1, 4, -1)  # (B, 4, V)
    sides = boxes.float().transpose(1, 2).gather(2, index)
    sides.masked_fill_(~candidates.filled.unsqueeze(1), 0)
    return pairwise_iou(gt_boxes, sides.transpose(1, 2))


def _own_class_cost(logs: ClassLogs, iou: Tensor, known: Tensor | None) -> Tensor:
    """Return (B, G, V) f(p, iou) - known f0(p), overwriting `logs`."""
    score, log_score, log_rest = logs
    entropy = log_score.sub_(log_rest).mul_(iou).add_(log_rest)  # minus the cross-entropy
    other = log_rest.mul_(score).mul_(score)  # minus f0
    if known is not None:
        other.mul_(known.unsqueeze(-1))
    gap = score.sub_(iou)
    return other.sub_(entropy.mul_(gap).mul_(gap))


def _dynamic_k(iou: Tensor) -> Tensor:
    """Return (B, G) how many anchor points each object takes: the sum of its best IoUs, cut."""
    best = iou.topk(min(_TOP_K, iou.shape[-1]), dim=-1).values
    return best.sum(dim=-1).nan_to_num_(nan=0.0).long().clamp_(min=1)


def _cheapest(cost: Tensor, wanted: Tensor) -> Tensor:
    """Give each object its cheapest candidates, and each candidate its cheapest object.

    Args:
        cost: (B, G, V), infinite where padded or empty.
        wanted: (B, G) how many candidates each object takes.

    Returns:
        (B, V) object of each candidate, -1 for none.
    """
    num_images, num_objects, num_slots = cost.shape
    slots = _take(cost, wanted)  # (B, G, k), num_slots where an object takes no more
    slots, width = slots.flatten(1), slots.shape[-1]
    owner = torch.arange(num_objects, device=cost.device).repeat_interleave(width)
    winner = torch.full((num_images, num_slots + 1), BACKGROUND, device=cost.device)
    winner.scatter_(1, slots, owner.expand_as(slots))
    times = torch.zeros_like(winner).scatter_add_(1, slots, torch.ones_like(slots))
    image, slot = (times[:, :-1] > 1).nonzero(as_tuple=True)
    # Among all objects of the image, also those that had not chosen it.
    winner[image, slot] = cost[image, :, slot].argmin(dim=-1)
    return winner[:, :-1]


def _take(cost: Tensor, wanted: Tensor) -> Tensor:
    """Return (B, G, k) the slots each object takes, V in place of those it does not want.

    One topk serves all objects, as long as the last slot taken costs less than the next. Where
    they tie (often, at the 1e8 of an object with fewer points than it wants), the published code
    takes what topk with exactly that k returns; so do we, to give the same assignment.
    """
    num_slots = cost.shape[-1]
    width = min(_TOP_K + 1, num_slots)
    values, slots = cost.topk(width, dim=-1, largest=False)
    rank = torch.arange(width, device=cost.device)
    taken = (rank < wanted.unsqueeze(-1)) & (values < torch.inf)
    slots = slots.where(taken, num_slots)
    tied = taken[..., :-1] & ~taken[..., 1:] & (values[..., :-1] == values[..., 1:])
    tied_objects = tied.any(dim=-1)  # (B, G)
    for k in sorted(set(wanted[tied_objects].tolist())):
        rows = tied_objects & (wanted == k)
        exact = cost[rows].topk(k, dim=-1, largest=False).indices
        slots[rows] = functional.pad(exact, (0, width - k), value=num_slots)
    return slots
