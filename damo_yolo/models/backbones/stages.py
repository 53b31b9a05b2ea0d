"""What the families share: blocks in sequence, and the three feature maps that a neck takes."""

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn

from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.layers import SpatialPyramidPooling


class BlockStage(nn.Module):
    """The blocks of one row of a structure."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.block_list = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        for block in self.block_list:
            x = block(x)
        return x


def pooled_after_first(
    blocks: Iterable[nn.Module], out_channels: int, config: DetectorConfig
) -> Iterator[nn.Module]:
    """Yield the blocks of a backbone's last row, with spatial pyramid pooling after the first."""
    for index, block in enumerate(blocks):
        yield block
        if index == 0:
            yield SpatialPyramidPooling(out_channels, activation=config.spp_activation)


def feature_maps(
    stages: Iterable[Callable[[Tensor], Tensor]], levels: tuple[int, ...], images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the feature maps of strides 8, 16 and 32.

    Args:
        stages: stem first.
        levels: which three stages end a stride; negative ones count from the last.
        images: (B, 3, H, W).
    """
    maps = []
    x = images
    for stage in stages:
        x = stage(x)
        maps.append(x)
    small, middle, large = (maps[level] for level in levels)
    return small, middle, large
