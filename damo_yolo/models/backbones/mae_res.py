"""ResNet-like backbone: sizes T and S.

Shapes: B images, C channels, H, W cells.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from damo_yolo.models.backbones.stages import BlockStage, feature_maps, pooled_after_first
from damo_yolo.models.config import Activation, DetectorConfig, StructureRow
from damo_yolo.models.layers import ConvBn, Focus, make_activation
from damo_yolo.models.reparam import RepConv


class ResConvBlock(nn.Module):
    """Two convolutions, the second re-parameterised, and a shortcut unless the size halves."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck: int,
        *,
        kernel_size: int,
        stride: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = ConvBn(in_channels, bottleneck, kernel_size)
        self.conv2 = RepConv(bottleneck, out_channels, stride=stride, activation=None)
        self.act = make_activation(activation)
        self.residual_proj: nn.Module = nn.Identity()
        if stride == 1 and in_channels != out_channels:
            self.residual_proj = ConvBn(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        y = self.conv2(self.act(self.conv1(x)))
        if self.stride == 1:
            y = y + self.residual_proj(x)
        z: Tensor = self.act(y)
        return z


class ResStage(BlockStage):
    """The blocks of one row; the last row of a backbone pools after its first block."""

    def __init__(
        self, in_channels: int, row: StructureRow, config: DetectorConfig, *, with_spp: bool
    ) -> None:
        assert row.bottleneck is not None
        blocks: Iterable[nn.Module] = (
            ResConvBlock(
                row.out_channels if index else in_channels,
                row.out_channels,
                row.bottleneck,
                kernel_size=1,
                stride=1 if index else row.stride,
                activation=config.activation,
            )
            for index in range(row.num_blocks)
        )
        super().__init__(
            pooled_after_first(blocks, row.out_channels, config) if with_spp else blocks
        )


class MaeRes(nn.Module):
    """A stem and one stage per row."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        structure = config.backbone
        self.levels = tuple(row + 1 for row in structure.level_rows)  # stage 0 is the stem
        self.block_list = nn.ModuleList(
            [Focus(3, structure.stem_channels, activation=config.activation)]
        )
        in_channels = structure.stem_channels
        for row in structure.rows:
            is_last = row is structure.rows[-1]
            self.block_list.append(ResStage(in_channels, row, config, with_spp=is_last))
            in_channels = row.out_channels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the feature maps of strides 8, 16 and 32 of (B, 3, H, W) images."""
        return feature_maps(self.block_list, self.levels, images)
