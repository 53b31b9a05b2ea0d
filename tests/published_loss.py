"""The published loss written out word for word, in eager torch on dense targets: the oracle.

Source: facts, sections 5 and 6. Shapes: B images, A anchor points, C classes, N foreground points,
R bins a side.
"""

import torch
from torch import Tensor
from torch.nn import functional

from damo_yolo.assignment.align_ota import Objects
from damo_yolo.boxes import paired_giou
from damo_yolo.losses.detection import LossParts
from damo_yolo.models.detector import DetectorOutput
from tests.published_assignment import assign_image


def assign(output: DetectorOutput, objects: Objects) -> tuple[Tensor, Tensor]:
    """Return (B, A) objects of the anchor points, -1 for background, and (B, A) overlaps."""
    scores, predicted = output.class_logits.detach().sigmoid(), output.boxes.detach()
    found = []
    for image, count in enumerate(objects.valid.sum(dim=1).tolist()):  # padding comes last
        at = (scores[image], predicted[image], output.points, output.strides)
        real = objects.boxes[image, :count], objects.labels[image, :count]
        found.append(assign_image(*at, *real))
    return torch.stack([one.gt_index for one in found]), torch.stack([one.iou for one in found])


def charge(output: DetectorOutput, objects: Objects, gt_index: Tensor, iou: Tensor) -> LossParts:
    """Return the loss of assigned anchor points: scores, boxes and side distributions."""
    scores = output.class_logits.sigmoid()  # (B, A, C)
    images, anchors = (gt_index >= 0).nonzero(as_tuple=True)
    columns = gt_index[images, anchors]
    quality = torch.zeros_like(scores)
    quality[images, anchors, objects.labels[images, columns]] = iou[images, anchors]
    weights = scores[images, anchors].detach().amax(dim=-1)  # (N,)
    weight_sum = weights.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy(scores, quality, reduction="none")
    qfl = (entropy * (quality - scores).abs() ** 2).sum() / max(len(weights), 1)
    targets = objects.boxes[images, columns]
    giou = ((1 - paired_giou(output.boxes[images, anchors], targets)) * weights).sum() / weight_sum
    dfl = _side_loss(output, (images, anchors), targets, weights) / weight_sum
    parts = (qfl, 2 * giou, 0.25 * dfl)
    count = qfl.new_tensor(len(weights))
    return LossParts(sum(parts, start=qfl.new_zeros(())), *parts, count, weights.sum())


def _side_loss(
    output: DetectorOutput, at: tuple[Tensor, Tensor], targets: Tensor, weights: Tensor
) -> Tensor:
    """Return the () sum of cross-entropies to the two bins around each distance, mean of sides."""
    points, strides = output.points[at[1]], output.strides[at[1]]
    sides = torch.cat((points - targets[:, :2], targets[:, 2:] - points), dim=1) / strides
    logits = output.side_logits[at].flatten(0, 1)  # (4N, R)
    distances = sides.clamp(0, logits.shape[1] - 1.1).flatten()
    below = distances.long()
    share = distances - below
    loss = functional.cross_entropy(logits, below, reduction="none") * (1 - share)
    loss = loss + functional.cross_entropy(logits, below + 1, reduction="none") * share
    return (loss * weights.repeat_interleave(4)).sum() / 4
