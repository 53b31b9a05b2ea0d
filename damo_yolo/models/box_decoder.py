"""Anchor points, and side distributions decoded into boxes.

Shapes: B images, A anchor points over all levels, R = reg_max + 1 bins a side.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def anchor_points(
    sizes: Iterable[Sequence[int]], strides: Sequence[int], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return the points of all levels: the top left pixel of each cell, row by row.

    Nothing is kept between calls, so a traced graph holds no stale table.

    Args:
        sizes: height and width of each level, in cells.
        strides: pixels per cell of each level.
        device: where to make the tensors.

    Returns:
        (A, 2) points as x, y in pixels; (A, 1) strides. Both float32.
    """
    points, point_strides = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        rows = torch.arange(height, device=device, dtype=torch.float32) * stride
        columns = torch.arange(width, device=device, dtype=torch.float32) * stride
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        level = torch.stack((x, y), dim=-1).flatten(0, 1)  # (H * W, 2)
        points.append(level)
        point_strides.append(torch.full_like(level[:, :1], stride))
    return torch.cat(points), torch.cat(point_strides)


class BoxDecoder(nn.Module):
    """Expected distance from each anchor point to the four sides of its box."""

    project: Tensor

    def __init__(self, reg_max: int) -> None:
        super().__init__()
        self.register_buffer("project", torch.arange(reg_max + 1.0))  # published name and shape

    def forward(self, side_logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
        """Decode one batch, in float32 whatever autocast says.

        The expectation is a 1x1 convolution: every engine can build that, and the layout below is
        what its channels-last kernels want, so nothing is copied.

        Args:
            side_logits: (B, A, 4, R) logits for left, top, right, bottom.
            points: (A, 2) anchor points as x, y in pixels.
            strides: (A, 1) pixels per cell.

        Returns:
            (B, A, 4) boxes, xyxy in pixels, not clipped to the image.
        """
        kind = side_logits.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self._decode(side_logits, points, strides)
        return self._decode(side_logits, points, strides)

    def _decode(self, side_logits: Tensor, points: Tensor, strides: Tensor) -> Tensor:
        probabilities = side_logits.float().softmax(dim=-1).permute(0, 3, 1, 2)  # (B, R, A, 4)
        bins = self.project.float().view(1, -1, 1, 1)
        distances = functional.conv2d(probabilities, bins).squeeze(1)  # (B, A, 4)
        left_top, right_bottom = (distances * strides).chunk(2, dim=-1)
        return torch.cat((points - left_top, points + right_bottom), dim=-1)
