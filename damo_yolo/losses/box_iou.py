"""GIoU loss of boxes."""

from torch import Tensor

from damo_yolo.boxes import paired_giou


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Return (N,) 1 - GIoU, between 0 and 2, of (N, 4) boxes and their targets in pixels."""
    return 1 - paired_giou(boxes, targets)
