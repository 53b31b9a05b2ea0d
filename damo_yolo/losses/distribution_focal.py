"""Distribution focal loss: the two bins around a side's distance should share its probability.

Shapes: N foreground anchor points, R = reg_max + 1 bins a side.
"""

from torch import Tensor
from torch.nn import functional

TARGET_MARGIN = 0.1
"""The largest target lies this far below the last bin (facts, section 5)."""


def distribution_focal_loss(side_logits: Tensor, distances: Tensor) -> Tensor:
    """Return (N, 4) cross-entropy to the bins below and above each distance, by nearness.

    Args:
        side_logits: (N, 4, R) logits for left, top, right, bottom.
        distances: (N, 4) target distances in strides, clamped to 0 .. reg_max - 0.1.
    """
    log_shares = functional.log_softmax(side_logits.float(), dim=-1)
    distances = distances.clamp(min=0, max=side_logits.shape[-1] - 1 - TARGET_MARGIN)
    below = distances.long()  # (N, 4)
    share_above = distances - below
    at_below = log_shares.gather(-1, below.unsqueeze(-1)).squeeze(-1)
    at_above = log_shares.gather(-1, below.unsqueeze(-1) + 1).squeeze(-1)
    return -(at_below * (1 - share_above) + at_above * share_above)
