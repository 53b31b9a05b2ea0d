"""Networks as lists of convolutions: score, size, depth and latency are sums over them.

Everything is vectorised over a population of N networks: a width is an array (N,). The networks of
one population share family, strides and input size; widths, depths and kernels are their own.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["k1kx", "kxkx", "k1kxk1", "k1dwk1", "k1dwsek1"]
"""Inner blocks by their convolutions: 1x1, KxK, depthwise KxK, squeeze and excite."""

DEPTHWISE_KINDS: tuple[Kind, ...] = ("k1dwk1", "k1dwsek1")
ONE: Array = np.ones(1)


class Stem(NamedTuple):
    """The first convolution."""

    cin: int
    """3, or 12 where 2x2 pixels became channels before it."""
    out: Array
    kernel: int
    stride: int


class Row(NamedTuple):
    """A chain of inner blocks that share their widths (facts: a super-block)."""

    cin: Array
    out: Array
    bottleneck: Array
    num_blocks: Array
    kernel: Array
    stride: int
    """Of the first block."""

    @property
    def halves(self) -> bool:
        """Tell whether the row halves the size of the map."""
        return self.stride != 1


class Network(NamedTuple):
    """A population of backbones."""

    kind: Kind
    stem: Stem
    rows: tuple[Row, ...]
    image_size: int
    """Side of what the stem sees, cells."""

    @property
    def row_stages(self) -> tuple[int, ...]:
        """Stage of each row: one begins before every layer of stride 2 that is not the stem."""
        stages = np.cumsum([row.halves for row in self.rows])
        return tuple(int(stage) for stage in stages)

    @property
    def num_stages(self) -> int:
        """Stages, that of the stem among them."""
        return self.row_stages[-1] + 1 if self.rows else 1

    @property
    def stage_widths(self) -> tuple[Array, ...]:
        """Output width of each stage."""
        widths = [self.stem.out] * self.num_stages
        for stage, row in zip(self.row_stages, self.rows, strict=True):
            widths[stage:] = [row.out] * (self.num_stages - stage)
        return tuple(widths)

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """Side of the input of each row, cells."""
        sizes = [self.image_size // self.stem.stride]
        for row in self.rows:
            sizes.append(sizes[-1] // row.stride)
        return tuple(sizes[:-1])


class Conv(NamedTuple):
    """A convolution with its norm and activation, `times` over."""

    cin: Array
    cout: Array
    kernel: Array
    size: int
    """Side of its output, cells."""
    stride: int = 1
    times: Array = ONE
    depthwise: bool = False
    on_path: bool = True
    """Part of the chain whose standard deviation the score follows; False: beside it."""
    activated: bool = True
    summed: bool = False
    """A shortcut is added to its output."""
    shifts: int = 2
    """Parameters per output channel: 2 of a batch norm, 1 of a bias."""
    pooled: Array | None = None
    """Channels averaged over 2x2 before it, counted once; None: nothing is."""

    @property
    def weights(self) -> Array:
        """Numbers in one kernel (N,)."""
        inputs = 1.0 if self.depthwise else self.cin
        return inputs * self.cout * self.kernel * self.kernel

    @property
    def fan_in(self) -> Array:
        """Inputs of one output value (N,)."""
        inputs = 1.0 if self.depthwise else self.cin
        return inputs * self.kernel * self.kernel


StagedConv = tuple[int, Conv]
"""A convolution and the stage it belongs to."""


def search_convs(network: Network) -> Iterator[StagedConv]:
    """Yield the convolutions of the networks that the published search counts and scores."""
    stem = network.stem
    kernel = np.asarray([float(stem.kernel)])
    size = network.image_size // stem.stride
    yield 0, Conv(np.asarray([float(stem.cin)]), stem.out, kernel, size, stem.stride)
    for stage, row, row_size in zip(
        network.row_stages, network.rows, network.row_sizes, strict=True
    ):
        for conv in search_row(network.kind, row, row_size):
            yield stage, conv


def search_row(kind: Kind, row: Row, size: int) -> Iterator[Conv]:
    """Yield the convolutions of one row in the published search; `size` is its input's side."""
    rest = row.num_blocks - 1.0
    yield from _inner_block(kind, row, row.cin, size=size, stride=row.stride, count=ONE)
    yield from _inner_block(kind, row, row.out, size=size // row.stride, stride=1, count=rest)
    keeps = (row.cin == row.out).astype(np.float64)
    depthwise = kind in DEPTHWISE_KINDS  # these have a shortcut only where the width stays
    pooled = row.cin * (keeps if depthwise else 1.0) if row.halves else None
    count = 0.0 * keeps if depthwise else 1.0 - keeps
    after = size // row.stride
    yield Conv(row.cin, row.out, ONE, after, times=count, on_path=False, pooled=pooled)


def _inner_block(
    kind: Kind, row: Row, cin: Array, *, size: int, stride: int, count: Array
) -> Iterator[Conv]:
    between, after = row.bottleneck, size // stride
    if kind in ("k1kx", "kxkx"):
        first = row.kernel if kind == "kxkx" else ONE
        yield Conv(cin, between, first, size, times=count)
        yield Conv(between, row.out, row.kernel, after, stride, count, summed=True)
        return
    depthwise = kind in DEPTHWISE_KINDS
    yield Conv(cin, between, ONE, size, times=count)
    yield Conv(between, between, row.kernel, after, stride, count, depthwise)
    yield Conv(between, row.out, ONE, after, 1, count, summed=True)


def count_params(convs: Iterator[StagedConv]) -> Array:
    """Return numbers that training changes (N,): weights, norms, biases."""
    total: Array = np.zeros(1)
    for _, conv in convs:
        total = total + conv.times * (conv.weights + conv.shifts * conv.cout)
    return total


def count_search_flops(convs: Iterator[StagedConv]) -> Array:
    """Return operations (N,) as the published search counts them.

    A multiply-add is one; a norm two and an activation one per output value; a 2x2 average one per
    input value. Additions of shortcuts are not counted.
    """
    total: Array = np.zeros(1)
    for _, conv in convs:
        per_cell = conv.weights + (2.0 + conv.activated) * conv.cout
        total = total + conv.times * per_cell * float(conv.size**2)
        if conv.pooled is not None:
            total = total + conv.pooled * float((2 * conv.size) ** 2)
    return total


def count_flops(convs: Iterator[StagedConv]) -> Array:
    """Return operations of the convolutions (N,), a multiply-add being two: `models.cost`."""
    total: Array = np.zeros(1)
    for _, conv in convs:
        total = total + conv.times * conv.weights * (2.0 * conv.size**2)
    return total


def count_layers(convs: Iterator[StagedConv]) -> Array:
    """Return the depth (N,): convolutions one behind the other; projections are beside them."""
    total: Array = np.zeros(1)
    for _, conv in convs:
        if conv.on_path:
            total = total + conv.times
    return total
