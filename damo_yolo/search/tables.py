"""Everything a search asks of a space, computed once: score and costs of every row it can hold.

Score and costs are sums over the stem, the rows, and the neck and head behind them, so a candidate
is worth a few look-ups. T quantities: the score, then the costs in the order of `COSTS`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from damo_yolo.models.config import Activation
from damo_yolo.search.detector_network import (
    LEVEL_SCALES,
    detector_row,
    head_convs,
    neck_convs,
)
from damo_yolo.search.latency import LatencyModel
from damo_yolo.search.network import (
    ONE,
    Array,
    Conv,
    Network,
    Row,
    count_flops,
    count_layers,
    count_params,
    count_search_flops,
    search_row,
)
from damo_yolo.search.score import score_convs
from damo_yolo.search.space import GENES, LEVEL_ROWS, STRIDES, Genes, SearchSpace

COSTS = ("params", "flops", "layers", "latency_ms")
"""What a budget can limit."""
QUANTITIES = ("score", *COSTS)


class Worth(NamedTuple):
    """Score and costs of N candidates."""

    score: Array
    params: Array
    flops: Array
    layers: Array
    latency_ms: Array
    """Zeros without a latency model."""


@dataclass(frozen=True)
class Tables:
    """Score and costs of the parts of every candidate of a space."""

    space: SearchSpace
    activation: Activation
    stem: Array
    """(stems, T)."""
    rows: tuple[Array, ...]
    """Each (inputs, outputs, bottlenecks, depths, kernels, T); a score of -inf: not allowed."""
    neck: Array
    """(widths at stride 8, at 16, at 32, T); (1, 1, 1, T) where the neck is not counted."""

    def worth(self, genes: Genes) -> Array:
        """Return (N, T) of candidates (N, G)."""
        total = self.stem[genes[:, 0]]
        cin = genes[:, 0]
        for position, table in enumerate(self.rows):
            start = 1 + position * len(GENES)
            place = cin
            for size, gene in zip(table.shape[1:5], range(start, start + 4), strict=True):
                place = place * size + genes[:, gene]
            total = total + table.reshape(-1, table.shape[-1])[place]
            cin = genes[:, start]
        return total + self.neck[self.neck_place(genes)]

    def neck_place(self, genes: Genes) -> tuple[NDArray[np.int64], ...]:
        """Return the three indices into `neck` of candidates (N, G)."""
        levels = (genes[:, 1 + row * len(GENES)] for row in LEVEL_ROWS)
        return tuple(
            np.minimum(level, size - 1)
            for level, size in zip(levels, self.neck.shape, strict=False)
        )


def build_tables(
    space: SearchSpace, activation: Activation, latency: LatencyModel | None = None
) -> Tables:
    """Compute the tables of a space for one activation; costs that need no model are exact."""
    value = _Valuer(space, activation, latency)
    rows = tuple(_row_table(space, value, position) for position in range(len(STRIDES)))
    return Tables(space, activation, value.stem(space.ladders[0]), rows, _neck_table(space, value))


def worth_of(
    network: Network,
    space: SearchSpace,
    activation: Activation,
    latency: LatencyModel | None = None,
) -> Worth:
    """Return score and costs of a population, computed convolution by convolution.

    Args:
        network: N backbones with the rows of `space`.
        space: says what is counted, and what stands around the backbones.
        activation: of backbone and neck.
        latency: of the target.
    """
    value = _Valuer(space, activation, latency)
    total = value.stem(network.stem.out)
    for position, row in enumerate(network.rows):
        total = total + value.row(row, position)
    levels = tuple(network.rows[row].out for row in LEVEL_ROWS)
    total = total + value.around((levels[0], levels[1], levels[2]))
    return Worth(*total.T)


@dataclass(frozen=True)
class _Valuer:
    """Turns parts of networks into their quantities."""

    space: SearchSpace
    activation: Activation
    latency: LatencyModel | None

    def stem(self, widths: Array) -> Array:
        stem = self.space.stem(widths)
        cin = np.asarray([float(stem.cin)])
        conv = Conv(cin, widths, 3.0 * ONE, self.space.cells // stem.stride, stem.stride)
        total = self._quantities([conv], len(widths), stage=0)
        total[:, 0] += self.space.weights[0] * np.log(widths)
        return total

    def row(self, row: Row, position: int) -> Array:
        space, kind = self.space, self.space.kind
        stage = int(np.cumsum(np.asarray(STRIDES) - 1)[position])
        size = space.cells // (1 if space.has_focus else 2)
        size //= int(np.prod(STRIDES[:position]))
        is_last = position + 1 == len(STRIDES)
        if space.network == "search":
            convs: Iterator[Conv] = search_row(kind, row, size)
        else:
            convs = detector_row(kind, row, size, is_last=is_last)
        total = self._quantities(convs, len(row.out), stage=stage)
        if is_last or STRIDES[position + 1] != 1:  # the row ends its stage
            total[:, 0] += space.weights[stage] * np.log(row.out)
        return total

    def around(self, levels: tuple[Array, Array, Array]) -> Array:
        """Return what neck and head cost; they have no score."""
        if self.space.network == "search":
            return np.zeros((1, len(QUANTITIES)))
        config, side = self.space.detector, self.space.detector.image_size
        convs = chain(
            neck_convs(levels, config, image_size=side), head_convs(config, image_size=side)
        )
        total = self._quantities(convs, len(levels[0]), stage=None)
        total[:, QUANTITIES.index("params")] += LEVEL_SCALES
        if self.latency is not None:
            total[:, QUANTITIES.index("latency_ms")] += self.latency.base_ms
        return total

    def _quantities(self, convs: Iterable[Conv], count: int, *, stage: int | None) -> Array:
        staged = [(stage or 0, conv) for conv in convs]
        total = np.zeros((count, len(QUANTITIES)))
        flops = count_search_flops if self.space.network == "search" else count_flops
        total[:, 1] = count_params(iter(staged))
        total[:, 2] = flops(iter(staged))
        if stage is not None:
            total[:, 0] = score_convs(staged, self.space.weights)
            total[:, 3] = count_layers(iter(staged))
        if self.latency is not None:
            for _, conv in staged:
                total[:, 4] += conv.times * self.latency.conv_ms(conv, self.activation)
        return total


def _row_table(space: SearchSpace, value: _Valuer, position: int) -> Array:
    start = 1 + position * len(GENES)
    before = 0 if position == 0 else start - len(GENES)
    ladders = (space.ladders[before], *space.ladders[start : start + len(GENES)])
    grid = np.meshgrid(*ladders, indexing="ij")
    cin, out, bottleneck, num_blocks, kernel = (axis.ravel() for axis in grid)
    row = space.row(position, cin, (out, bottleneck, num_blocks, kernel))
    allowed = space.allows(row)
    table = np.zeros((len(cin), len(QUANTITIES)))
    table[:, 0] = -np.inf
    values = (out[allowed], bottleneck[allowed], num_blocks[allowed], kernel[allowed])
    picked = space.row(position, cin[allowed], values)
    table[allowed] = value.row(picked, position)
    return table.reshape(*grid[0].shape, len(QUANTITIES))


def _neck_table(space: SearchSpace, value: _Valuer) -> Array:
    if space.network == "search":
        return np.zeros((1, 1, 1, len(QUANTITIES)))
    ladders = [space.ladders[1 + row * len(GENES)] for row in LEVEL_ROWS]
    grid = np.meshgrid(*ladders, indexing="ij")
    in8, in16, in32 = (axis.ravel() for axis in grid)
    return value.around((in8, in16, in32)).reshape(*grid[0].shape, len(QUANTITIES))
