"""What a search may choose: widths, bottlenecks, depths and kernels of a backbone's rows.

A candidate is a row of gene indices, one per choice: the stem's width, then `GENES` for every row
of blocks. G genes, N candidates: an array (N, G) of places in the ladders of the space.
"""

from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from damo_yolo.config import Config
from damo_yolo.models.config import Activation, DetectorConfig, Family
from damo_yolo.search.detector_network import round_to_8
from damo_yolo.search.network import Array, Kind, Network, Row, Stem
from damo_yolo.search.score import WEIGHTS
from damo_yolo.search.structures import FOCUS_CELLS, KIND_OF_FAMILY

Genes = NDArray[np.int64]
Range = tuple[int, int]

STRIDES = (2, 2, 2, 1, 2)
"""Of the rows, in every DAMO-YOLO search; rows 1, 3 and 4 end the levels of the neck."""
LEVEL_ROWS = (1, 3, 4)
GENES = ("out", "bottleneck", "num_blocks", "kernel")
STEP = 8
"""Widths are multiples of it."""
SMALLEST_SHARE = 0.1
"""Of the output width that a bottleneck may have."""


class SearchSpace(Config):
    """Ranges of everything that mutates, and the fixed rest."""

    family: Family
    network: Literal["search", "detector"] = "detector"
    """What is scored and counted: the published search's network, or what is deployed."""
    stem_channels: tuple[int, ...] = (8, 16, 24, 32)
    widths: tuple[Range, Range, Range, Range, Range]
    """Smallest and largest output width of each row."""
    max_blocks: tuple[int, int, int, int, int]
    ratios: tuple[float, ...] = ()
    """Bottleneck over output width, rounded to 8. Empty: every multiple of 8 from a tenth of the
    output width up to all of it."""
    kernels: tuple[int, ...] = (3,)
    """Of res and csp blocks 3 only, as the detector builds them."""
    weights: tuple[float, float, float, float, float] = WEIGHTS
    """Of the stages in the score."""
    detector: DetectorConfig
    """Neck, head and input size around the backbone; its own backbone is not looked at."""
    activations: tuple[Activation, ...] = Field(min_length=1)
    """Of backbone and neck. The score does not see them; a measured latency does."""

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if any(low > high or low < STEP for low, high in self.widths):
            raise ValueError("each range of widths needs a smallest of 8 or more, then a largest")
        if min(self.max_blocks) < 1:
            raise ValueError("every row needs at least one block")
        if self.family != "mob" and self.kernels != (3,):
            raise ValueError("only the mob family has kernels to choose from")
        return self

    @property
    def kind(self) -> Kind:
        """Kind of its blocks."""
        return KIND_OF_FAMILY[self.family]

    @property
    def cells(self) -> int:
        """Side of what the stem sees."""
        size = self.detector.image_size
        return size // 2 if self.has_focus else size

    @property
    def has_focus(self) -> bool:
        """Tell whether 2x2 pixels become channels before the stem."""
        return self.detector.backbone.stem == "focus"

    @cached_property
    def ladders(self) -> tuple[Array, ...]:
        """Values of each gene that are values of their own; of a ratio, the ratio."""
        bottlenecks = np.asarray(self.ratios) if self.ratios else self._all_bottlenecks
        ladders = [np.asarray(self.stem_channels, dtype=np.float64)]
        for (low, high), depth in zip(self.widths, self.max_blocks, strict=True):
            ladders.append(np.arange(low, high + 1, STEP, dtype=np.float64))
            ladders.append(bottlenecks)
            ladders.append(np.arange(1.0, depth + 1))
            ladders.append(np.asarray(self.kernels, dtype=np.float64))
        return tuple(ladders)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Number of values of each gene (G,)."""
        return np.asarray([len(ladder) for ladder in self.ladders])

    @property
    def _all_bottlenecks(self) -> Array:
        widest = max(high for _, high in self.widths)
        return np.arange(STEP, widest + 1, STEP, dtype=np.float64)

    def row(self, position: int, cin: Array, values: tuple[Array, Array, Array, Array]) -> Row:
        """Return a row from its input width and the values of its genes, all (N,)."""
        out, bottleneck, num_blocks, kernel = values
        if self.ratios:
            bottleneck = round_to_8(out * bottleneck)
        return Row(cin, out, bottleneck, num_blocks, kernel, STRIDES[position])

    def allows(self, row: Row) -> NDArray[np.bool_]:
        """Tell which rows (N,) are built alike elsewhere: widths grow, bottlenecks fit."""
        fits = row.cin <= row.out
        if self.family == "csp" and not row.halves:
            fits = fits & (row.cin == row.out)  # rows of one stage share their width
        if not self.ratios:
            fits &= (row.bottleneck <= row.out) & (row.bottleneck >= SMALLEST_SHARE * row.out)
        return np.asarray(fits)

    def stem(self, out: Array) -> Stem:
        """Return stems of these widths (N,)."""
        return Stem(FOCUS_CELLS if self.has_focus else 3, out, 3, 1 if self.has_focus else 2)

    def networks(self, genes: Genes) -> Network:
        """Return candidates as a population of networks."""
        values = [ladder[genes[:, place]] for place, ladder in enumerate(self.ladders)]
        cin, rows = values[0], []
        for position in range(len(STRIDES)):
            start = 1 + position * len(GENES)
            out, bottleneck, num_blocks, kernel = values[start : start + len(GENES)]
            rows.append(self.row(position, cin, (out, bottleneck, num_blocks, kernel)))
            cin = out
        return Network(self.kind, self.stem(values[0]), tuple(rows), self.cells)


_RES: dict[str, Any] = {
    "widths": ((16, 128), (64, 128), (64, 256), (128, 256), (256, 512)),
    "max_blocks": (4, 4, 4, 4, 4),
}
_MOB: dict[str, Any] = {
    "widths": ((16, 64), (24, 96), (40, 192), (64, 192), (96, 384)),
    "max_blocks": (3, 4, 4, 4, 3),
    "ratios": (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0),
    "kernels": (3, 5),
}
_CSP: dict[str, Any] = {
    "widths": ((16, 128), (64, 128), (128, 256), (128, 256), (256, 512)),
    "max_blocks": (3, 5, 5, 5, 4),
}
_RANGES: dict[Family, dict[str, Any]] = {"res": _RES, "csp": _CSP, "mob": _MOB}


def search_space(family: Family, detector: DetectorConfig, **changes: Any) -> SearchSpace:
    """Return the space of a family around a detector's neck, head and input size.

    Args:
        family: of the blocks.
        detector: e.g. a published size; of its backbone only the kind of stem is kept.
        **changes: fields of `SearchSpace` that differ from the family's.

    Raises:
        ConfigError: a change does not fit, or the family does not go with the detector's stem.
    """
    values = {"family": family, "activations": (detector.activation,), **_RANGES[family], **changes}
    return SearchSpace.from_mapping({**values, "detector": detector}, source="the search space")
