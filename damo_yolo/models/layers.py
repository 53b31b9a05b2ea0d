"""Leaf modules that backbones and necks share. Attribute names are those of published checkpoints.

Shapes: B images, C channels, H, W cells.

A module that owns a convolution and its batch norm lists the two in `norm_pairs`; folding reads it.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from damo_yolo.models.config import Activation

NormPairs = tuple[tuple[str, str], ...]
"""Names of convolutions and of the batch norms behind them, relative to the owner."""


def make_activation(name: Activation | None) -> nn.Module:
    """Return a fresh activation; None is the identity."""
    if name == "relu":
        return nn.ReLU(inplace=True)  # keeps one copy: its gradient needs the output only
    if name == "silu":
        return nn.SiLU()
    if name == "hard_swish":
        return nn.Hardswish()
    return nn.Identity()


def same_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size, up to its stride."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=(kernel_size - 1) // 2,
        groups=groups,
        bias=False,
    )


def round_to_8(width: float) -> int:
    """Return the multiple of 8 nearest to a width, at least 8 and not below 0.9 of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class ConvBnAct(nn.Module):
    """Convolution, batch norm, activation."""

    norm_pairs: ClassVar[NormPairs] = (("conv", "bn"),)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        activation: Activation | None,
    ) -> None:
        super().__init__()
        self.conv = same_conv(in_channels, out_channels, kernel_size, stride=stride)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H / stride, W / stride)."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class ConvBn(nn.Module):
    """Convolution and batch norm, under the names that searched backbones use."""

    norm_pairs: ClassVar[NormPairs] = (("conv1", "bn1"),)

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = same_conv(in_channels, out_channels, kernel_size, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H / stride, W / stride)."""
        y: Tensor = self.bn1(self.conv1(x))
        return y


class StemConv(nn.Module):
    """A `ConvBn` and an activation: stems of the mob family, transitions of csp stages."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.conv = ConvBn(in_channels, out_channels, kernel_size, stride=stride)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H / stride, W / stride)."""
        y: Tensor = self.act(self.conv(x))
        return y


class Focus(nn.Module):
    """Four neighbouring pixels become one cell with four times the channels, then a convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, activation: Activation) -> None:
        super().__init__()
        self.conv = ConvBnAct(4 * in_channels, out_channels, 3, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H / 2, W / 2)."""
        even_columns, odd_columns = x[..., ::2], x[..., 1::2]
        cells = torch.cat(
            (
                even_columns[..., ::2, :],
                even_columns[..., 1::2, :],
                odd_columns[..., ::2, :],
                odd_columns[..., 1::2, :],
            ),
            dim=1,
        )  # (B, 4C, H / 2, W / 2)
        y: Tensor = self.conv(cells)
        return y


class SpatialPyramidPooling(nn.Module):
    """Maxima over windows of 5, 9 and 13 cells beside the map itself, between two 1x1 layers."""

    def __init__(self, channels: int, *, activation: Activation) -> None:
        super().__init__()
        hidden = channels // 2
        self.conv1 = ConvBnAct(channels, hidden, 1, activation=activation)
        self.conv2 = ConvBnAct(4 * hidden, channels, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        maps: list[Tensor] = [self.conv1(x)]
        for _ in range(3):  # a window of 5 twice is one of 9, thrice one of 13, to the bit
            maps.append(functional.max_pool2d(maps[-1], kernel_size=5, stride=1, padding=2))
        y: Tensor = self.conv2(torch.cat(maps, dim=1))
        return y
