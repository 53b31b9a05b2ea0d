"""A latency model fitted to measurements: operators inside whole networks, and the networks.

What a convolution takes is a sum of non-negative shares: a start, its arithmetic (channels padded
to the width of vector units), the values it reads and writes, its activation. What is left of a
network (resizing, joining, decoding) is one constant: all of a space have one neck and head.

K kinds of convolutions, F features, O measured operators, M networks.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field
from scipy.optimize import nnls
from scipy.stats import spearmanr

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.models.config import Activation
from damo_yolo.search.network import Array, Conv

KINDS = ("point", "dense", "dense_down", "depthwise", "depthwise_down")
PARTS = ("start", "arithmetic", "read", "written")
ACTIVATIONS: tuple[Activation, ...] = ("relu", "silu", "hard_swish")
FEATURES = (*(f"{kind}.{part}" for kind in KINDS for part in PARTS), "summed", *ACTIVATIONS)
VECTOR = 16.0
"""Channels that a vector unit takes at once; a rest takes as long."""
NETWORK_WEIGHT = 10.0
"""Of a whole network against an operator in the fit."""
MILLION = 1e-6


class OpTime(Config):
    """What the convolutions of one shape took inside a network, together."""

    cin: int
    cout: int
    kernel: int
    size: int
    """Side of the output, cells."""
    stride: int
    depthwise: bool
    ms: float


class NetworkTimes(Config):
    """One measured network: its convolutions as the space counts them, and times."""

    activation: Activation
    ms: float
    """End to end, one image."""
    ops: tuple[OpTime, ...] = ()
    """Empty where the target shows no operators."""


class LatencyError(Config):
    """How far predictions are from measurements of networks that the fit has not seen."""

    num_networks: int
    rank_correlation: float
    median: float
    """Of the relative errors, without sign."""
    worst: float


class FittedLatency(Config):
    """A latency model of one target, machine and surrounding (neck, head, input size)."""

    target: str
    base: float
    """Milliseconds of what is not a convolution."""
    shares: dict[str, float]
    """Feature to milliseconds per unit."""
    error: LatencyError
    image_size: int
    neck_channels: tuple[int, int, int]
    activations: tuple[Activation, ...]
    """Those measured; others are unknown."""
    environment: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def load(cls, uri: str) -> Self:
        """Read what `damo-yolo profile` wrote.

        Raises:
            ConfigError: it is something else.
            StorageError: nothing is at the location.
        """
        return cls.from_yaml(storage.read_text(uri), source=uri)

    @property
    def base_ms(self) -> float:
        """Milliseconds of what is not a convolution."""
        return self.base

    def conv_ms(self, conv: Conv, activation: Activation) -> Array:
        """Return milliseconds of one such convolution (N,).

        Raises:
            ConfigError: the activation was not measured.
        """
        if activation not in self.activations:
            raise ConfigError(
                f"the latency model has not measured the activation {activation!r}",
                fix=f"search with {', '.join(self.activations)}, or profile it: --activation",
            )
        shares = np.asarray([self.shares.get(name, 0.0) for name in FEATURES])
        return np.asarray(conv_features(conv, activation) @ shares)


def conv_features(conv: Conv, activation: Activation) -> Array:
    """Return what one such convolution amounts to (N, F)."""
    cells = float(conv.size**2)
    count = max(len(np.atleast_1d(part)) for part in (conv.cin, conv.cout, conv.kernel))
    features = np.zeros((count, len(FEATURES)))
    inputs = VECTOR * np.ceil(conv.cin / VECTOR) if not conv.depthwise else 1.0
    padded = inputs * VECTOR * np.ceil(conv.cout / VECTOR) * conv.kernel**2 * cells
    written = conv.cout * cells
    start = KINDS.index(_kind(conv)) * len(PARTS)
    features[:, start] = 1.0
    features[:, start + 1] = padded * MILLION
    features[:, start + 2] = conv.cin * cells * conv.stride**2 * MILLION
    features[:, start + 3] = written * MILLION
    if conv.summed:
        features[:, FEATURES.index("summed")] = written * MILLION
    if conv.activated:
        features[:, FEATURES.index(activation)] = written * MILLION
    return features


def fit_latency(
    networks: Sequence[Sequence[Conv]],
    times: Sequence[NetworkTimes],
    *,
    held_out: int,
) -> tuple[dict[str, float], float, LatencyError]:
    """Fit the shares to all but the last networks, and measure the error on those.

    Args:
        networks: convolutions of each measured network, (1,) each.
        times: what each took.
        held_out: how many networks, the last ones, only measure the error.

    Returns:
        Shares by feature, the constant in milliseconds, and the error.
    """
    totals = np.stack([_network_features(*pair) for pair in zip(networks, times, strict=True)])
    seen = len(times) - held_out
    ends = np.asarray([time.ms for time in times])
    rows = [np.append(features, 1.0) for features in totals[:seen]]
    weights, sides = list(NETWORK_WEIGHT / ends[:seen]), list(ends[:seen])
    for convs, time in zip(networks[:seen], times[:seen], strict=True):
        for features, ms in _operator_rows(convs, time):
            rows.append(np.append(features, 0.0))
            sides.append(ms)
            weights.append(1.0 / max(ms, 0.01))  # what takes less than 10 us is measured badly
    scale = np.asarray(weights)
    found, _ = nnls(np.stack(rows) * scale[:, None], np.asarray(sides) * scale)
    predicted = totals[seen:] @ found[:-1] + found[-1]
    shares = {name: float(share) for name, share in zip(FEATURES, found, strict=False) if share}
    return shares, float(found[-1]), latency_error(predicted, ends[seen:])


def latency_error(predicted: Array, measured: Array) -> LatencyError:
    """Compare predictions with measurements (M,)."""
    relative = np.abs(predicted / measured - 1.0)
    return LatencyError(
        num_networks=len(measured),
        rank_correlation=round(float(spearmanr(predicted, measured).statistic), 4),
        median=round(float(np.median(relative)), 4),
        worst=round(float(relative.max()), 4),
    )


def _kind(conv: Conv) -> str:
    if conv.depthwise:
        return "depthwise_down" if conv.stride > 1 else "depthwise"
    if float(np.max(conv.kernel)) == 1:
        return "point"
    return "dense_down" if conv.stride > 1 else "dense"


def _network_features(convs: Sequence[Conv], time: NetworkTimes) -> Array:
    parts = [conv.times[:, None] * conv_features(conv, time.activation) for conv in convs]
    return np.asarray(np.sum(parts, axis=0)[0])


def _operator_rows(convs: Sequence[Conv], time: NetworkTimes) -> list[tuple[Array, float]]:
    """Pair measured operators with the convolutions of the same shape, all of a shape together."""
    counted: dict[tuple[int, ...], Array] = {}
    for conv in convs:
        shape = padded_shape(
            conv.cin[0], conv.cout[0], conv.kernel[0], conv.size, conv.stride, conv.depthwise
        )
        features = conv.times[0] * conv_features(conv, time.activation)[0]
        counted[shape] = counted.get(shape, np.zeros(len(FEATURES))) + features
    measured: dict[tuple[int, ...], float] = {}
    for op in time.ops:
        shape = padded_shape(op.cin, op.cout, op.kernel, op.size, op.stride, op.depthwise)
        measured[shape] = measured.get(shape, 0.0) + op.ms
    return [(counted[shape], ms) for shape, ms in measured.items() if shape in counted]


def padded_shape(cin: float, cout: float, *rest: float) -> tuple[int, ...]:
    """Return a shape with its channels padded: some runtimes show operators after padding them."""
    return tuple(int(VECTOR * -(-channels // VECTOR)) for channels in (cin, cout)) + tuple(
        int(value) for value in rest
    )
