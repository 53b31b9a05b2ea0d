"""The loss of a detector: assign, weigh, sum.

Shapes: B images, A anchor points, C classes, R bins a side, G objects padded over the batch,
N foreground anchor points.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn

from damo_yolo.assignment.align_ota import Objects, assign
from damo_yolo.assignment.class_cost import LogitCosts
from damo_yolo.boxes import xyxy_to_distances
from damo_yolo.config import Config
from damo_yolo.losses.box_iou import giou_loss
from damo_yolo.losses.distribution_focal import distribution_focal_loss
from damo_yolo.losses.quality_focal import Foreground, background_loss, quality_focal_loss
from damo_yolo.models.detector import DetectorOutput


class LossConfig(Config):
    """How much each part of the loss counts (defaults: facts, section 6)."""

    qfl: float = Field(default=1.0, ge=0.0)
    """Weight of the quality focal loss of the scores; 0 leaves them untrained."""
    giou: float = Field(default=2.0, ge=0.0)
    """Weight of the GIoU loss of the boxes; 0 trains boxes by their distributions alone."""
    dfl: float = Field(default=0.25, ge=0.0)
    """Weight of the distribution focal loss of the sides; 0 trains only their mean."""
    assignment_memory_mib: int | None = Field(default=None, ge=1)
    """Memory of the assignment in MiB: little means few images at a time. None: 16 on a CPU, 512
    on other devices."""


class LossParts(NamedTuple):
    """A batch's loss and its weighted parts, all () tensors."""

    total: Tensor
    """The sum of the three parts, to be differentiated."""
    qfl: Tensor
    giou: Tensor
    dfl: Tensor
    num_foreground: Tensor
    """Foreground anchor points of this process."""
    foreground_score: Tensor
    """Summed score of these anchor points; with their number, what divides the parts."""


class DetectionLoss(nn.Module):
    """Assign anchor points to objects and charge for scores, boxes and side distributions."""

    def __init__(self, config: LossConfig | None = None) -> None:
        super().__init__()
        self.config = config or LossConfig()

    def forward(
        self,
        output: DetectorOutput,
        gt_boxes: Tensor,
        gt_labels: Tensor,
        gt_valid: Tensor,
        class_mask: Tensor | None = None,
        divisors: Tensor | None = None,
    ) -> LossParts:
        """Return the loss of a batch, in float32 whatever autocast says.

        Where torch.distributed runs, every process must call this equally often: each call without
        `divisors` makes exactly one collective, whatever its batch holds.

        Args:
            output: what the detector returned in training mode.
            gt_boxes: (B, G, 4) objects, xyxy in pixels.
            gt_labels: (B, G) class of each object.
            gt_valid: (B, G) bool, False where padded.
            class_mask: (B, C) bool, True where absence of the class is evidence; None: everywhere.
            divisors: (2,) number and summed score of the foreground to divide by, for a batch that
                is computed in parts; None: those of this batch, averaged over processes.

        Raises:
            DataError: the label of an object is not one of the C classes.
        """
        objects = Objects(gt_boxes, gt_labels, gt_valid)
        with torch.autocast(output.class_logits.device.type, enabled=False):
            return self._loss(output, objects, class_mask, divisors)

    def _loss(
        self,
        output: DetectorOutput,
        objects: Objects,
        class_mask: Tensor | None,
        divisors: Tensor | None,
    ) -> LossParts:
        logits, boxes = output.class_logits.detach(), output.boxes.detach()
        with_slope = torch.is_grad_enabled() and output.class_logits.requires_grad
        background = background_loss(logits, class_mask, with_slope=with_slope)
        costs = LogitCosts(logits, background.cost, class_mask)
        grid = (output.points, output.strides)
        memory_mib = self.config.assignment_memory_mib
        gt_index, iou = assign(costs, boxes, grid, objects, memory_mib=memory_mib)
        images, anchors = (gt_index >= 0).nonzero(as_tuple=True)
        columns = gt_index[images, anchors]
        labels, quality = objects.labels[images, columns], iou[images, anchors]
        foreground = Foreground(images, anchors, labels, quality)
        weights = logits[images, anchors].float().amax(dim=-1).sigmoid()  # (N,)
        own = torch.stack((torch.ones_like(weights).sum(), weights.sum()))
        num_foreground, weight_sum = foreground_divisors(own) if divisors is None else divisors
        qfl = quality_focal_loss(
            output.class_logits,
            foreground,
            num_foreground,
            class_mask=class_mask,
            background=background,
        )
        targets = objects.boxes.float()[images, columns]
        giou = giou_loss(output.boxes[images, anchors].float(), targets) @ weights / weight_sum
        dfl = _side_loss(output, foreground, targets) @ weights / weight_sum
        qfl, giou, dfl = qfl * self.config.qfl, giou * self.config.giou, dfl * self.config.dfl
        return LossParts(qfl + giou + dfl, qfl, giou, dfl, *own)


def _side_loss(output: DetectorOutput, foreground: Foreground, targets: Tensor) -> Tensor:
    """Return (N,) distribution focal loss, the mean of the four sides."""
    images, anchors = foreground.images, foreground.anchors
    points, strides = output.points[anchors], output.strides[anchors]
    distances = xyxy_to_distances(targets, points) / strides  # (N, 4)
    return distribution_focal_loss(output.side_logits[images, anchors], distances).mean(dim=-1)


def foreground_divisors(sums: Tensor, *, num_parts: int = 1) -> Tensor:
    """Return (2,) what divides the losses of each part of a batch, averaged over processes.

    Args:
        sums: (2,) number and summed score of the foreground, over all parts of this process.
        num_parts: equal parts that the batch is computed in.
    """
    if dist.is_available() and dist.is_initialized():
        sums = sums.clone()
        dist.all_reduce(sums)
        sums /= dist.get_world_size()
    return sums.clamp(min=1) / num_parts
