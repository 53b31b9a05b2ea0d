"""CSP-like backbone: sizes M and L.

Shapes: B images, C channels, H, W cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from damo_yolo.models.backbones.mae_res import ResConvBlock
from damo_yolo.models.backbones.stages import feature_maps
from damo_yolo.models.config import DetectorConfig, StructureRow
from damo_yolo.models.layers import Focus, SpatialPyramidPooling, StemConv


class CspStage(nn.Module):
    """Halve the size; send half the channels through the blocks and half past them; join.

    The rows of a stage are one of stride 2 and those of stride 1 that follow it. The down-sampling
    convolution counts as the first block of its row.
    """

    def __init__(
        self,
        in_channels: int,
        rows: Sequence[StructureRow],
        config: DetectorConfig,
        *,
        with_spp: bool,
    ) -> None:
        super().__init__()
        out_channels = rows[0].out_channels
        hidden = out_channels // 2
        between = config.csp_transition_activation
        self.convstem = nn.ModuleList(
            ResConvBlock(
                hidden,
                hidden,
                width,
                kernel_size=config.backbone.kernel_size,
                stride=1,
                activation=config.activation,
            )
            for width in _bottlenecks(rows)
        )
        self.downsampler = StemConv(in_channels, out_channels, 3, stride=2, activation=between)
        self.spp: nn.Module = nn.Identity()
        if with_spp:
            self.spp = SpatialPyramidPooling(out_channels, activation=config.spp_activation)
        self.conv_start = StemConv(out_channels, hidden, 1, activation=between)
        self.conv_shortcut = StemConv(out_channels, hidden, 1, activation=between)
        self.conv_fuse = StemConv(out_channels, out_channels, 1, activation=between)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / 2, W / 2)."""
        x = self.spp(self.downsampler(x))
        shortcut = self.conv_shortcut(x)
        x = self.conv_start(x)
        for block in self.convstem:
            x = block(x)
        y: Tensor = self.conv_fuse(torch.cat((x, shortcut), dim=1))
        return y


class MaeCsp(nn.Module):
    """A stem and one stage per down-sampling row."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        structure = config.backbone
        self.csp_stage = nn.ModuleList(
            [Focus(3, structure.stem_channels, activation=config.activation)]
        )
        in_channels = structure.stem_channels
        stages = _group_rows(structure.rows)
        for rows in stages:
            is_last = rows is stages[-1]
            self.csp_stage.append(CspStage(in_channels, rows, config, with_spp=is_last))
            in_channels = rows[0].out_channels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the feature maps of strides 8, 16 and 32 of (B, 3, H, W) images."""
        return feature_maps(self.csp_stage, (-3, -2, -1), images)


def _group_rows(rows: Sequence[StructureRow]) -> list[list[StructureRow]]:
    stages: list[list[StructureRow]] = []
    for row in rows:
        if row.halves:
            stages.append([])
        stages[-1].append(row)
    return stages


def _bottlenecks(rows: Sequence[StructureRow]) -> list[int]:
    widths: list[int] = []
    for row in rows:
        assert row.bottleneck is not None
        widths += [row.bottleneck] * (row.num_blocks - row.halves)
    return widths
