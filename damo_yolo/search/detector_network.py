"""The convolutions of the deployed detector: backbone, neck and head, branches fused.

They are what `models` builds: sizes counted here equal `models.cost.measure_cost`.
"""

from collections.abc import Iterator

import numpy as np

from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.necks.rep_gfpn import DEPTHWISE_EXPANSION
from damo_yolo.search.network import DEPTHWISE_KINDS, ONE, Array, Conv, Network, Row, StagedConv

LEVEL_SCALES = 3.0
"""Parameters of the head outside its convolutions: one factor per level."""

_THREE, _FIVE = 3.0 * ONE, 5.0 * ONE


def detector_convs(network: Network) -> Iterator[StagedConv]:
    """Yield the convolutions of the backbones with their stages."""
    stem, stages = network.stem, network.row_stages
    size = network.image_size // stem.stride
    cin = np.asarray([float(stem.cin)])
    yield 0, Conv(cin, stem.out, float(stem.kernel) * ONE, size, stem.stride)
    last = len(network.rows) - 1
    for position, row in enumerate(network.rows):
        convs = detector_row(
            network.kind, row, network.row_sizes[position], is_last=position == last
        )
        for conv in convs:
            yield stages[position], conv


def detector_row(kind: str, row: Row, size: int, *, is_last: bool) -> Iterator[Conv]:
    """Yield the convolutions of one row; `size` is its input's side, cells.

    A row of the csp family has a part of its stage: the one of stride 2 its transitions too.
    """
    if kind == "kxkx":
        yield from _csp_row(row, size, is_last=is_last)
        return
    block = _mob_block if kind in DEPTHWISE_KINDS else _res_block
    after = size // row.stride
    yield from block(row, row.cin, size=size, stride=row.stride, count=ONE)
    if is_last:
        yield from _pyramid(row.out, after)
    yield from block(row, row.out, size=after, stride=1, count=row.num_blocks - 1.0)


def neck_convs(
    levels: tuple[Array, Array, Array], config: DetectorConfig, *, image_size: int
) -> Iterator[Conv]:
    """Yield the convolutions of the neck behind levels of these widths (N,)."""
    in8, in16, in32 = levels
    out8, out16, out32 = (width * ONE for width in config.neck_channels)
    at8, at16, at32 = (image_size // stride for stride in (8, 16, 32))
    yield from _down(in16, at32, config)
    yield from _fusion(in32 + in16, in32, at32, config)
    yield from _down(in8, at16, config)
    yield from _fusion(in16 + in8 + in32, in16, at16, config)
    yield from _fusion(in8 + in16, out8, at8, config)
    yield from _down(out8, at16, config)
    yield from _fusion(in16 + out8, out16, at16, config)
    yield from _down(in16, at32, config)
    yield from _down(out16, at32, config)
    yield from _fusion(in32 + in16 + out16, out32, at32, config)


def head_convs(config: DetectorConfig, *, image_size: int) -> Iterator[Conv]:
    """Yield the convolutions of the head."""
    sides = 4.0 * (config.reg_max + 1)
    kernel = float(config.head_kernel_size) * ONE
    for width, stride in zip(config.neck_channels, (8, 16, 32), strict=True):
        for cout in (float(config.num_classes), sides):
            size = image_size // stride
            yield Conv(width * ONE, cout * ONE, kernel, size, activated=False, shifts=1)


def _res_block(row: Row, cin: Array, *, size: int, stride: int, count: Array) -> Iterator[Conv]:
    after = size // stride
    yield Conv(cin, row.bottleneck, ONE, size, times=count)
    yield Conv(row.bottleneck, row.out, _THREE, after, stride, count, summed=stride == 1, shifts=1)
    if stride == 1:
        changes = (cin != row.out).astype(np.float64)
        yield Conv(cin, row.out, ONE, size, times=count * changes, on_path=False, activated=False)


def _mob_block(row: Row, cin: Array, *, size: int, stride: int, count: Array) -> Iterator[Conv]:
    hidden, after = row.bottleneck, size // stride
    yield Conv(cin, hidden, ONE, size, times=count)
    yield Conv(hidden, hidden, row.kernel, after, stride, count, depthwise=True)
    yield Conv(hidden, row.out, ONE, after, times=count, activated=False, summed=stride == 1)


def _csp_row(row: Row, size: int, *, is_last: bool) -> Iterator[Conv]:
    hidden, after = np.floor(row.out / 2), size // row.stride
    count = row.num_blocks
    if row.halves:
        count = count - 1.0
        yield Conv(row.cin, row.out, _THREE, after, row.stride)
        if is_last:
            yield from _pyramid(row.out, after)
        yield Conv(row.out, hidden, ONE, after)
        yield Conv(row.out, hidden, ONE, after, on_path=False)
        yield Conv(2.0 * hidden, row.out, ONE, after)
    yield Conv(hidden, row.bottleneck, row.kernel, after, times=count)
    yield Conv(row.bottleneck, hidden, _THREE, after, times=count, summed=True, shifts=1)


def _pyramid(width: Array, size: int) -> Iterator[Conv]:
    hidden = np.floor(width / 2)
    yield Conv(width, hidden, ONE, size)
    yield Conv(4.0 * hidden, width, ONE, size)


def _fusion(cin: Array, out: Array, size: int, config: DetectorConfig) -> Iterator[Conv]:
    past = np.floor(out / 2)
    chain = out - past
    num_blocks = float(config.neck_num_blocks)
    count = num_blocks * ONE
    yield Conv(cin, past, ONE, size, on_path=False)
    yield Conv(cin, chain, ONE, size)
    if config.neck_depthwise:
        hidden = round_to_8(DEPTHWISE_EXPANSION * chain)
        yield Conv(chain, hidden, ONE, size, times=count)
        yield Conv(hidden, hidden, _FIVE, size, times=count, depthwise=True)
        yield Conv(hidden, chain, ONE, size, times=count, activated=False, summed=True)
    else:
        hidden = np.floor(chain * config.neck_hidden_ratio)
        yield Conv(chain, hidden, _THREE, size, times=count, shifts=1)
        yield Conv(hidden, chain, _THREE, size, times=count, summed=True)
    yield Conv(past + num_blocks * chain, out, ONE, size)


def _down(width: Array, size: int, config: DetectorConfig) -> Iterator[Conv]:
    """Yield what halves a map; `size` is the side after it."""
    if config.neck_depthwise:
        yield Conv(width, width, _THREE, size, 2, depthwise=True)
        yield Conv(width, width, ONE, size)
    else:
        yield Conv(width, width, _THREE, size, 2)


def round_to_8(width: Array) -> Array:
    """Return `models.layers.round_to_8` of an array."""
    rounded = np.maximum(8.0, np.floor((width + 4.0) / 8.0) * 8.0)
    return np.asarray(np.where(rounded < 0.9 * width, rounded + 8.0, rounded))
