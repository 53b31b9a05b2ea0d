"""Mobile backbone of inverted residuals: the nano sizes.

Shapes: B images, C channels, H, W cells.
"""

import math
from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from damo_yolo.models.backbones.stages import BlockStage, feature_maps, pooled_after_first
from damo_yolo.models.config import BackboneConfig, DetectorConfig, StructureRow
from damo_yolo.models.layers import (
    Focus,
    NormPairs,
    StemConv,
    make_activation,
    round_to_8,
    same_conv,
)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels, bias=False),
            nn.Hardsigmoid(),  # relu6(x + 3) / 6
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gate: Tensor = self.fc(x.mean(dim=(2, 3)))  # (B, C)
        return x * gate[:, :, None, None]


class MobBlock(nn.Module):
    """Widen, filter each channel, narrow; a shortcut where the shape stays."""

    norm_pairs: ClassVar[NormPairs] = (
        ("conv.0", "conv.1"),
        ("conv.3", "conv.4"),
        ("conv.7", "conv.8"),
    )

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int,
        *,
        kernel_size: int,
        stride: int,
        config: DetectorConfig,
    ) -> None:
        super().__init__()
        structure = config.backbone
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            same_conv(in_channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            make_activation(config.activation),
            same_conv(hidden, hidden, kernel_size, stride=stride, groups=hidden),
            nn.BatchNorm2d(hidden),
            SqueezeExcite(hidden) if structure.squeeze_excite else nn.Identity(),
            make_activation(config.activation),
            same_conv(hidden, out_channels, 1),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


class MobStage(BlockStage):
    """The blocks of one row; the last row of a backbone pools after its first block."""

    def __init__(
        self, in_channels: int, position: int, config: DetectorConfig, *, with_spp: bool
    ) -> None:
        row = config.backbone.rows[position]
        hidden = expansion_width(row, position)
        blocks: Iterable[nn.Module] = (
            MobBlock(
                row.out_channels if index else in_channels,
                row.out_channels,
                hidden,
                kernel_size=row.kernel_size or config.backbone.kernel_size,
                stride=1 if index else row.stride,
                config=config,
            )
            for index in range(row.num_blocks)
        )
        super().__init__(
            pooled_after_first(blocks, row.out_channels, config) if with_spp else blocks
        )


class MaeMob(nn.Module):
    """A stem and one stage per row."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        structure = config.backbone
        self.levels = tuple(row + 1 for row in structure.level_rows)  # stage 0 is the stem
        self.block_list = nn.ModuleList([_make_stem(structure, config)])
        in_channels = structure.stem_channels
        for position, row in enumerate(structure.rows):
            is_last = position + 1 == len(structure.rows)
            self.block_list.append(MobStage(in_channels, position, config, with_spp=is_last))
            in_channels = row.out_channels
        self._initialise()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the feature maps of strides 8, 16 and 32 of (B, 3, H, W) images."""
        return feature_maps(self.block_list, self.levels, images)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=1.0 / module.weight.shape[1])
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 1e-4)


def expansion_width(row: StructureRow, position: int) -> int:
    """Return the hidden width of the blocks of a row; `position` counts rows from 0.

    The ratio, 3.5 and half more each row, multiplies the output width.
    """
    if row.bottleneck is not None:
        return row.bottleneck
    return round_to_8(math.ceil(row.out_channels * (3.5 + 0.5 * position)))


def _make_stem(structure: BackboneConfig, config: DetectorConfig) -> nn.Module:
    if structure.stem == "focus":
        return Focus(3, structure.stem_channels, activation=config.activation)
    return StemConv(3, structure.stem_channels, 3, stride=2, activation=config.activation)
