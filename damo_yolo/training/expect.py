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


class ExpectedLoss(NamedTuple):
    """Parts of the loss of step 0."""

    qfl: float
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
    equally likely, which costs log R. Foreground scores add little: they are few.

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
    return ExpectedLoss(
        qfl=config.qfl * background,
        dfl=config.dfl * math.log(num_bins) * has_foreground,
        max_giou=config.giou * MAX_GIOU_LOSS * has_foreground,
    )


def deviations(expected: ExpectedLoss, parts: LossParts) -> list[str]:
    """Return a sentence for every part that random weights do not explain."""
    found = []
    for name in ("qfl", "dfl"):
        value, wanted = float(getattr(parts, name)), getattr(expected, name)
        if abs(value - wanted) > TOLERANCE * max(wanted, 0.1):
            found.append(
                f"{name} is {value:.3f} at step 0, random weights should give {wanted:.3f}"
            )
    giou = float(parts.giou)
    if not 0 <= giou <= expected.max_giou + 1e-6:
        found.append(f"giou is {giou:.3f}, it cannot lie beyond {expected.max_giou:.3f}")
    return found
