"""What a detector is made of: the structure of its backbone, neck and head sizes, norm settings."""

import json
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError

Activation = Literal["relu", "silu", "hard_swish"]
Family = Literal["res", "csp", "mob"]
Width = Annotated[int, Field(ge=2)]

STRIDES = (8, 16, 32)
"""Pixels per cell of the three levels a backbone hands to the neck."""

BUILTIN_STRUCTURES = ("t", "s", "m", "l", "ns", "nm", "nl")


class StructureRow(Config):
    """One row of a searched structure: blocks that share their widths."""

    out_channels: Width
    bottleneck: int | None = Field(default=None, ge=1)
    """Width between the convolutions of a block. None, in the mob family only: output width times
    a ratio that grows with the row."""
    num_blocks: int = Field(ge=1)
    stride: Literal[1, 2]
    """Of the first block; the others keep the size."""
    kernel_size: Literal[3, 5, 7] | None = None
    """mob only: of the depthwise convolutions of this row; None takes the backbone's."""

    @property
    def halves(self) -> bool:
        """Tell whether the row halves the size of the map."""
        return self.stride != 1


class BackboneConfig(Config):
    """A backbone as the search writes it."""

    family: Family
    stem: Literal["focus", "conv"]
    """`focus`: 2x2 pixels become channels, then a convolution; `conv`: stride 2."""
    stem_channels: Width
    kernel_size: Literal[3, 5, 7] = 3
    """res: unused; csp: first convolution of a block; mob: the depthwise convolution."""
    squeeze_excite: bool = False
    """mob only: a channel gate after each depthwise convolution. No published size has it."""
    rows: tuple[StructureRow, ...] = Field(min_length=4)

    @model_validator(mode="after")
    def _rows_fit_the_family(self) -> Self:
        if not self.rows[0].halves or sum(row.halves for row in self.rows) != len(STRIDES) + 1:
            raise ValueError("four rows, the first among them, must have stride 2")
        if self.family == "mob":
            return self
        if any(row.kernel_size for row in self.rows):
            raise ValueError("only rows of the mob family have kernel sizes of their own")
        if any(row.bottleneck is None for row in self.rows):
            raise ValueError("every row of the res and csp families needs a bottleneck")
        if self.stem != "focus":
            raise ValueError("the res and csp families start with the stem 'focus'")
        if self.family == "csp":
            self._check_csp_rows()
        return self

    def _check_csp_rows(self) -> None:
        for previous, row in zip(self.rows, self.rows[1:], strict=False):
            if not row.halves and row.out_channels != previous.out_channels:
                raise ValueError("a csp row of stride 1 keeps the width of the row before it")
        if any(row.out_channels % 2 for row in self.rows):
            raise ValueError("csp rows need an even number of output channels")

    @property
    def level_rows(self) -> tuple[int, ...]:
        """Indices of the rows whose output is handed on, one per entry of `STRIDES`."""
        ends = [
            index
            for index, row in enumerate(self.rows)
            if index + 1 == len(self.rows) or self.rows[index + 1].halves
        ]
        return tuple(ends[1:])  # the first end has stride 4

    @property
    def out_channels(self) -> tuple[int, int, int]:
        """Widths at strides 8, 16 and 32."""
        small, middle, large = (self.rows[index].out_channels for index in self.level_rows)
        return small, middle, large


class DetectorConfig(Config):
    """A complete detector; the defaults are what the published sizes share."""

    backbone: BackboneConfig
    neck_channels: tuple[Width, Width, Width]
    """Output widths at strides 8, 16 and 32."""
    neck_num_blocks: int = Field(ge=1)
    """Blocks in each of the five fusion nodes."""
    neck_hidden_ratio: float = Field(default=1.0, gt=0.0, le=4.0)
    """Hidden width of a fusion block over its width; depthwise necks expand by 3 instead."""
    neck_depthwise: bool = False
    """True: inverted residuals and depthwise down-sampling, as in the nano sizes."""
    activation: Activation = "silu"
    """Of backbone and neck."""
    spp_activation: Activation = "silu"
    """Of the pyramid pooling; SiLU in every published size, also where the rest is ReLU."""
    csp_transition_activation: Activation = "relu"
    """Around the blocks of a csp stage; ReLU in the published sizes, whose blocks are SiLU."""
    head_kernel_size: Literal[1, 3] = 3
    reg_max: int = Field(default=16, ge=1, le=64)
    """Largest distance of a box side, in strides; `reg_max` + 1 bins a side."""
    num_classes: int = Field(default=80, ge=1)
    class_prior: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Score of every class at the start of training."""
    bn_eps: float = Field(default=1e-3, gt=0.0)
    bn_momentum: float = Field(default=0.03, gt=0.0, le=1.0)
    """Share of a new batch in the running statistics; runs of a few hundred steps want 0.1."""
    image_size: int = Field(default=640, ge=32, multiple_of=32)
    """Side of the square input the size was published with, pixels."""
    score_threshold: float = Field(default=0.05, ge=0.0, lt=1.0)
    iou_threshold: float = Field(default=0.7, gt=0.0, le=1.0)
    """Of two boxes of one class that overlap more, the lower scored is dropped."""


def load_structure(name_or_uri: str) -> BackboneConfig:
    """Return a structure: one of `BUILTIN_STRUCTURES`, or a JSON file the search wrote.

    Raises:
        ConfigError: the text is no JSON object or does not describe a backbone.
        StorageError: nothing is at the location.
    """
    if name_or_uri in BUILTIN_STRUCTURES:
        folder = resources.files("damo_yolo.models.backbones") / "structures"
        text = (folder / f"{name_or_uri}.json").read_text(encoding="utf-8")
    else:
        text = storage.read_text(name_or_uri)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{name_or_uri} is not valid JSON: {error}", fix="correct the syntax there"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{name_or_uri} holds no JSON object", fix="write the fields of BackboneConfig"
        )
    return BackboneConfig.from_mapping(values, source=name_or_uri)
