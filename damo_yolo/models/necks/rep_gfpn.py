"""RepGFPN: each fusion node and link named by its place in the figure of the report.

Shapes: B images, C channels, H, W cells of the level at hand. Levels s8, s16, s32 by their stride.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from damo_yolo.models.config import Activation, DetectorConfig
from damo_yolo.models.layers import ConvBnAct, NormPairs, make_activation, round_to_8, same_conv
from damo_yolo.models.reparam import RepConv

DEPTHWISE_EXPANSION = 3


class RepBlock(nn.Module):
    """A re-parameterised convolution, a plain one, and a shortcut. `conv2` runs first."""

    def __init__(self, channels: int, hidden: int, *, activation: Activation) -> None:
        super().__init__()
        self.conv1 = ConvBnAct(hidden, channels, 3, activation=activation)
        self.conv2 = RepConv(channels, hidden, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.conv1(self.conv2(x))
        return x + y


class Expansion(nn.Module):
    """Widen, filter each channel, narrow."""

    norm_pairs: ClassVar[NormPairs] = (
        ("conv.0", "conv.1"),
        ("conv.3", "conv.4"),
        ("conv.6", "conv.7"),
    )

    def __init__(self, channels: int, *, activation: Activation) -> None:
        super().__init__()
        hidden = round_to_8(DEPTHWISE_EXPANSION * channels)
        self.conv = nn.Sequential(
            same_conv(channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            make_activation(activation),
            same_conv(hidden, hidden, 5, groups=hidden),
            nn.BatchNorm2d(hidden),
            make_activation(activation),
            same_conv(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.conv(x)
        return y


class NanoBlock(nn.Module):
    """An inverted residual."""

    def __init__(self, channels: int, *, activation: Activation) -> None:
        super().__init__()
        self.conv = Expansion(channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        y: Tensor = self.conv(x)
        return x + y


class SeparableDown(nn.Module):
    """Halve the size with a depthwise 3x3, then mix channels with a 1x1."""

    norm_pairs: ClassVar[NormPairs] = (("depthwise", "dwnorm"), ("pointwise", "pwnorm"))

    def __init__(self, channels: int, *, activation: Activation) -> None:
        super().__init__()
        self.depthwise = same_conv(channels, channels, 3, stride=2, groups=channels)
        self.pointwise = same_conv(channels, channels, 1)
        self.dwnorm = nn.BatchNorm2d(channels)
        self.pwnorm = nn.BatchNorm2d(channels)
        self.act = make_activation(activation)
        for conv in (self.depthwise, self.pointwise):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H / 2, W / 2)."""
        y = self.act(self.dwnorm(self.depthwise(x)))
        z: Tensor = self.act(self.pwnorm(self.pointwise(y)))
        return z


class FusionNode(nn.Module):
    """Join the outputs of a chain of blocks, all of them, with a second path past the chain."""

    def __init__(self, in_channels: int, out_channels: int, config: DetectorConfig) -> None:
        super().__init__()
        activation = config.activation
        past = out_channels // 2
        chain = out_channels - past
        num_blocks = config.neck_num_blocks
        self.conv1 = ConvBnAct(in_channels, past, 1, activation=activation)
        self.conv2 = ConvBnAct(in_channels, chain, 1, activation=activation)
        self.convs = nn.ModuleList(_make_block(chain, config) for _ in range(num_blocks))
        joined = past + num_blocks * chain
        self.conv3 = ConvBnAct(joined, out_channels, 1, activation=activation)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map maps of one size, `in_channels` together, to (B, out, H, W)."""
        x = torch.cat(inputs, dim=1)
        paths: list[Tensor] = [self.conv1(x)]
        y = self.conv2(x)
        for block in self.convs:
            y = block(y)
            paths.append(y)
        z: Tensor = self.conv3(torch.cat(paths, dim=1))
        return z


class RepGfpn(nn.Module):
    """Five fusion nodes; nodes 5, 7 and 6 are the outputs at strides 8, 16 and 32."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        in8, in16, in32 = config.backbone.out_channels
        out8, out16, out32 = config.neck_channels
        self.bu_conv13 = _make_down(in16, config)
        self.merge_3 = FusionNode(in32 + in16, in32, config)
        self.bu_conv24 = _make_down(in8, config)
        self.merge_4 = FusionNode(in16 + in8 + in32, in16, config)
        self.merge_5 = FusionNode(in8 + in16, out8, config)
        self.bu_conv57 = _make_down(out8, config)
        self.merge_7 = FusionNode(in16 + out8, out16, config)
        self.bu_conv46 = _make_down(in16, config)
        self.bu_conv76 = _make_down(out16, config)
        self.merge_6 = FusionNode(in32 + in16 + out16, out32, config)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map the three maps of a backbone to three of the same sizes."""
        x2, x1, x0 = features
        x3 = self.merge_3(x0, self.bu_conv13(x1))
        x4 = self.merge_4(x1, self.bu_conv24(x2), _twice(x3))
        x5 = self.merge_5(x2, _twice(x4))
        x7 = self.merge_7(x4, self.bu_conv57(x5))
        x6 = self.merge_6(x3, self.bu_conv46(x4), self.bu_conv76(x7))
        return x5, x7, x6


def _make_block(channels: int, config: DetectorConfig) -> nn.Module:
    if config.neck_depthwise:
        return NanoBlock(channels, activation=config.activation)
    hidden = int(channels * config.neck_hidden_ratio)
    return RepBlock(channels, hidden, activation=config.activation)


def _make_down(channels: int, config: DetectorConfig) -> nn.Module:
    if config.neck_depthwise:
        return SeparableDown(channels, activation=config.activation)
    return ConvBnAct(channels, channels, 3, stride=2, activation=config.activation)


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
