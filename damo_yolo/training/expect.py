"""What random weights should give: the loss of step 0, from the configuration and a batch alone.

Shapes: B images, A anchor points, C classes, R bins a side.
"""

import math
from typing import NamedTuple

from torch import Tensor

from damo_yolo.losses.detection import LossConfig, LossParts

TOLERANCE = 0.25
"""By which a part may differ from what is expected, relative to it."""
MAX_GIOU_LOSS = 2.0
SLACK = 1e-4
"""For rounding, where nothing is expected."""


class ExpectedLoss(NamedTuple):
    """Parts of the loss of step 0."""

    min_qfl: float
    max_qfl: float
    dfl: float
    max_giou: float
    """The GIoU loss depends on where boxes of random size fall; it has this bound."""


def expected_loss(
    config: LossConfig,
    parts: LossParts,
    *,
    class_prior: float,
    num_known: Tensor,
    num_anchors: int,
    num_bins: int,
) -> ExpectedLoss:
    """Return what a detector should lose whose scores are all `class_prior`.

    Every known class of every anchor point then pays -log(1 - p) p^2, and the bins of a side are
    equally likely, which costs log R. A foreground score pays for its distance to its box's IoU
    too; that IoU is about 1 minus the GIoU loss, as first boxes are small and lie in their objects.

    Args:
        config: weights of the parts.
        parts: of the batch; its number of foreground points is what the sums are divided by.
        class_prior: score of every class at the start.
        num_known: (B,) classes of each image whose absence is evidence.
        num_anchors: A.
        num_bins: R.
    """
    num_foreground = max(float(parts.num_foreground), 1.0)
    one = -math.log(1 - class_prior) * class_prior**2
    background = one * num_anchors * float(num_known.sum()) / num_foreground
    has_foreground = bool(parts.num_foreground > 0)
    weight = min(float(parts.foreground_score), 1.0)  # box losses are divided by 1 at least
    giou = float(parts.giou.detach()) / max(config.giou * weight, 1e-9)
    iou = 1 - giou if config.giou else 1.0
    most = min(max(2 * iou, 0.0) + 0.1, 1.0)  # some boxes fit better than the mean
    charge = -(most * math.log(class_prior) + (1 - most) * math.log(1 - class_prior))
    foreground = charge * (most - class_prior) ** 2 * has_foreground
    return ExpectedLoss(
        min_qfl=config.qfl * background * (1 - TOLERANCE),
        max_qfl=config.qfl * (background * (1 + TOLERANCE) + foreground),
        dfl=config.dfl * math.log(num_bins) * weight,
        max_giou=config.giou * MAX_GIOU_LOSS * weight,
    )


def deviations(expected: ExpectedLoss, parts: LossParts) -> list[str]:
    """Return a sentence for every part that random weights do not explain."""
    ranges = {
        "qfl": (expected.min_qfl, expected.max_qfl),
        "giou": (0.0, expected.max_giou),
        "dfl": (expected.dfl * (1 - TOLERANCE), expected.dfl * (1 + TOLERANCE)),
    }
    values = {name: float(getattr(parts, name).detach()) for name in ranges}
    return [
        f"{name} is {values[name]:.4f}, random weights should give {low:.4f} to {high:.4f}"
        for name, (low, high) in ranges.items()
        if not low - SLACK <= values[name] <= high + SLACK
    ]
