"""Rows of the class branch, one per class: matched by name when the classes change.

Shapes: C classes, I input channels, K kernel size.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from damo_yolo.errors import DamoYoloError
from damo_yolo.models.heads.zero_head import WEIGHT_STD, class_bias

_CLASS_ROW = re.compile(r"head\.gfl_cls\.\d+\.(weight|bias)")


class MatchedRows(NamedTuple):
    """A state dict for the new classes, and what became of each class."""

    state: dict[str, Tensor]
    kept: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]


def is_class_row(key: str) -> bool:
    """Tell whether the first dimension of this entry counts classes."""
    return _CLASS_ROW.fullmatch(key) is not None


def num_class_rows(state: Mapping[str, Tensor]) -> int:
    """Return how many classes a state dict has; 0 when it has no class branch."""
    return next((len(value) for key, value in state.items() if is_class_row(key)), 0)


def match_rows(
    state: Mapping[str, Tensor],
    *,
    old_names: Sequence[str],
    new_names: Sequence[str],
    class_prior: float,
    generator: torch.Generator | None = None,
) -> MatchedRows:
    """Return the state dict with class rows in the order of the new names.

    Args:
        state: published keys; class rows (C, I, K, K) and (C,).
        old_names: names of the rows there.
        new_names: names of the rows wanted.
        class_prior: score that rows without a predecessor start with.
        generator: draws those rows; None is torch's global generator.

    Raises:
        DamoYoloError: names are not unique, or not as many as rows.
    """
    _check_unique(old_names, whose="the weights")
    _check_unique(new_names, whose="the detector")
    if num_class_rows(state) not in (0, len(old_names)):
        raise DamoYoloError(
            f"{len(old_names)} class names were given for weights of {num_class_rows(state)}",
            fix="give one name per class of the weights, in order",
        )
    position = {name: row for row, name in enumerate(old_names)}
    targets = [row for row, name in enumerate(new_names) if name in position]
    sources = [position[new_names[row]] for row in targets]
    matched = dict(state)
    for key, old in state.items():
        if is_class_row(key):
            rows = _fresh_rows(old, len(new_names), class_prior=class_prior, generator=generator)
            rows[targets] = old[sources].to(rows.dtype)
            matched[key] = rows
    return MatchedRows(
        state=matched,
        kept=tuple(new_names[row] for row in targets),
        new=tuple(name for name in new_names if name not in position),
        dropped=tuple(name for name in old_names if name not in set(new_names)),
    )


def _fresh_rows(
    like: Tensor, num_rows: int, *, class_prior: float, generator: torch.Generator | None
) -> Tensor:
    if like.ndim == 1:
        return torch.full((num_rows,), class_bias(class_prior))
    return torch.randn((num_rows, *like.shape[1:]), generator=generator) * WEIGHT_STD


def _check_unique(names: Sequence[str], *, whose: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DamoYoloError(
            f"{len(repeated)} class names of {whose} occur more than once: {', '.join(repeated)}",
            fix="make the names unique: rows are matched by name",
        )
