"""ZeroHead: one convolution per level for classes, one for box sides.

Shapes: B images, C classes, R = reg_max + 1 bins a side, H, W cells, A cells of all levels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from damo_yolo.models.box_decoder import BoxDecoder
from damo_yolo.models.config import DetectorConfig

WEIGHT_STD = 0.01


class LevelScale(nn.Module):
    """A learned factor on the side logits of one level."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map times the factor, in float32: the box branch stays in it."""
        return x.float() * self.scale


class ZeroHead(nn.Module):
    """Two projections per level; levels share nothing."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        size = config.head_kernel_size
        num_sides = 4 * (config.reg_max + 1)
        self.integral = BoxDecoder(config.reg_max)  # the published name
        self.gfl_cls = nn.ModuleList(
            nn.Conv2d(width, config.num_classes, size, padding=size // 2)
            for width in config.neck_channels
        )
        self.gfl_reg = nn.ModuleList(
            nn.Conv2d(width, num_sides, size, padding=size // 2) for width in config.neck_channels
        )
        self.scales = nn.ModuleList(LevelScale() for _ in config.neck_channels)
        self._initialise(config.class_prior)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Map the neck's outputs to logits.

        Returns:
            (B, A, C) class logits, not yet through the sigmoid; (B, A, 4, R) side logits, float32,
            sides in the order left, top, right, bottom.
        """
        class_maps = [conv(x) for conv, x in zip(self.gfl_cls, features, strict=True)]
        side_maps = [
            scale(conv(x))
            for scale, conv, x in zip(self.scales, self.gfl_reg, features, strict=True)
        ]
        side_logits = _join_levels(side_maps)  # (B, A, 4R)
        batch, _, num_sides = side_logits.shape
        return _join_levels(class_maps), side_logits.view(batch, -1, 4, num_sides // 4)

    def _initialise(self, class_prior: float) -> None:
        for conv in (*self.gfl_cls, *self.gfl_reg):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.normal_(conv.weight, std=WEIGHT_STD)
            nn.init.zeros_(conv.bias)
        for conv in self.gfl_cls:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.constant_(conv.bias, class_bias(class_prior))


def class_bias(class_prior: float) -> float:
    """Return the logit of a score."""
    return math.log(class_prior / (1.0 - class_prior))


def _join_levels(maps: Sequence[Tensor]) -> Tensor:
    """Return (B, A, K) from maps (B, K, H, W): views, and one copy where they are joined."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], dim=1)
