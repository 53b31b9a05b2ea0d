"""Latency of a network as a sum over its convolutions.

Sums separate, so a search under such a latency can be exact. Two sources: a table that somebody
measured, and a model fitted to measurements inside whole networks (`fitted_latency`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from damo_yolo.errors import ConfigError
from damo_yolo.models.config import Activation
from damo_yolo.search.network import Array, Conv, StagedConv

FIRST_CHANNELS = 12.0
"""Of the stem behind 2x2 pixels; tables list it apart."""


class LatencyModel(Protocol):
    """Milliseconds of one image."""

    @property
    def base_ms(self) -> float:
        """What every network takes, whatever its convolutions."""
        ...

    def conv_ms(self, conv: Conv, activation: Activation) -> Array:
        """Return what one such convolution takes, its activation included (N,)."""
        ...


class GridLatency:
    """A measured table over input and output channels, one per kind of convolution."""

    def __init__(self, grids: Mapping[str, Array], channels: Array) -> None:
        """Keep a table.

        Args:
            grids: `kernel_stride_summed_inputside` to (C, C) seconds over input and output
                channels; `stem` to (C,) seconds over output channels.
            channels: (C,) evenly spaced channels of the grids.
        """
        self._grids = {name: np.asarray(grid, dtype=np.float64) for name, grid in grids.items()}
        self._first = float(channels[0])
        self._step = float(channels[1] - channels[0])
        self._last = float(channels[-1])

    @classmethod
    def load(cls, path: str | Path) -> "GridLatency":
        """Read a table from an .npz: `channels`, and a grid under each other name."""
        with np.load(path, allow_pickle=False) as file:
            grids = {name: file[name] for name in file.files if name != "channels"}
            return cls(grids, file["channels"])

    @property
    def base_ms(self) -> float:
        """Nothing: a table knows convolutions only."""
        return 0.0

    def conv_ms(self, conv: Conv, activation: Activation) -> Array:  # noqa: ARG002 - tables know none
        """Return milliseconds of one such convolution (N,).

        Raises:
            ConfigError: the table has no such convolution.
        """
        cout = self._place(conv.cout)
        if conv.cin[0] == FIRST_CHANNELS:
            return self._grid("stem")[cout] * 1e3
        name = f"{conv.kernel[0]:.0f}_{conv.stride}_{conv.summed:d}_{conv.size * conv.stride}"
        if conv.depthwise:
            name = f"depthwise_{name}"
        return np.asarray(self._grid(name)[self._place(conv.cin), cout] * 1e3)

    def _grid(self, name: str) -> Array:
        if name not in self._grids:
            raise ConfigError(
                f"the latency table has no convolution {name} (kernel, stride, sum, input side)",
                fix="measure the target: damo-yolo profile",
            )
        return self._grids[name]

    def _place(self, channels: Array) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        if channels.min() < self._first or channels.max() > self._last:
            raise ConfigError(
                f"the latency table ends at {self._last:.0f} channels",
                fix="narrow the search space, or measure the target: damo-yolo profile",
            )
        return np.rint((channels - self._first) / self._step).astype(np.int64)


def latency_ms(convs: "list[StagedConv]", model: LatencyModel, activation: Activation) -> Array:
    """Return milliseconds of one image (N,)."""
    total: Array = np.full(1, model.base_ms)
    for _, conv in convs:
        total = total + conv.times * model.conv_ms(conv, activation)
    return total
