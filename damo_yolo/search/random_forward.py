"""The score as it is measured: random weights, random input, one forward pass after the other.

An oracle for the closed form, not a tool of the search: it takes seconds where that takes
microseconds. Norms, activations and shortcuts are left out, as in the published search's first
generation; zero padding lowers the measured score by some tenths of a percent
(facts: mae_nas.md, section 2.2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from damo_yolo.search.network import Network, StagedConv, search_convs
from damo_yolo.search.score import WEIGHTS, score_widths


class MeasuredScore(NamedTuple):
    """Mean and spread of the score over draws of weights and input."""

    mean: float
    std: float
    """Of one draw, over the draws."""
    repeats: int


def measure_score(
    network: Network,
    *,
    weights: Sequence[float] = WEIGHTS,
    repeats: int = 4,
    image_size: int | None = None,
    seed: int = 0,
) -> MeasuredScore:
    """Score one network of the published search by random forward passes of one image.

    Args:
        network: a population of one.
        weights: of the stages.
        repeats: draws of weights and input.
        image_size: side of what the stem sees, cells; None takes the network's.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    side = image_size or network.image_size
    widths = float(score_widths(network.stage_widths, weights)[0])
    later = np.cumsum(np.asarray(weights, dtype=np.float64)[::-1])[::-1]
    path = [(stage, conv) for stage, conv in search_convs(network) if conv.on_path]
    totals = []
    for _ in range(repeats):
        x = torch.randn(1, network.stem.cin, side, side, generator=generator)
        logs = _forward(x, _in_order(path), generator)
        totals.append(widths + sum(float(later[stage]) * log for stage, log in logs))
    return MeasuredScore(float(np.mean(totals)), float(np.std(totals)), repeats)


def _in_order(path: Sequence[StagedConv]) -> list[StagedConv]:
    """Return every convolution once per block, in the order of a forward pass."""
    ordered: list[StagedConv] = [path[0]]  # the stem
    block: list[StagedConv] = []
    for staged in path[1:]:
        block.append(staged)
        if staged[1].summed:
            ordered += block * round(float(staged[1].times[0]))
            block = []
    return ordered


def _forward(
    x: Tensor, convs: Sequence[StagedConv], generator: torch.Generator
) -> list[tuple[int, float]]:
    """Return the logarithm of the standard deviation that each convolution makes."""
    logs = []
    for stage, conv in convs:
        groups = x.shape[1] if conv.depthwise else 1
        kernel = int(conv.kernel[0])
        shape = (int(conv.cout[0]), x.shape[1] // groups, kernel, kernel)
        weight = torch.randn(shape, generator=generator)
        x = functional.conv2d(
            x, weight, stride=conv.stride, padding=(kernel - 1) // 2, groups=groups
        )
        std = x.std()
        x = x / std
        logs.append((stage, float(std.log())))
    return logs
