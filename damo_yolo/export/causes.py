"""Why a tap differs: faults that exporters make, each recognised by what it does to the values.

Every fault is a way to turn the reference's values into the candidate's; the one that does explains
the difference. Shapes: B images, K channels, C classes, A anchor points.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Fault = tuple[str, Callable[[Values], Values]]

MAP_DIMS = 4
"""Of (B, K, H, W)."""
CLOSE = 0.02
"""Relative difference left over when a fault explains what is seen."""
MOSTLY = 0.3
"""Share of the difference that may be left over where rounding to 8 bits makes much of it."""
UNEXPLAINED = "other weights or another operator"


def explain(tap: str, reference: Values, candidate: Values, *, tolerance: float = 1e-3) -> str:
    """Return the cause of a difference at a tap, in words.

    Args:
        tap: its name.
        reference: values of the model.
        candidate: values of the artifact, of the same shape.
        tolerance: what counts as equal; at least `CLOSE`.
    """
    limit = max(CLOSE, min(tolerance, MOSTLY * _distance(reference, candidate)))
    for sentence, fault in _faults(tap):
        if _distance(fault(reference), candidate) < limit:
            return sentence
    if tap == "tap.input":
        return _of_pixels(reference, candidate, limit)
    if reference.ndim == MAP_DIMS and _is_rescaled(reference, candidate, limit):
        return "stale batch norm: each channel is scaled and shifted by its own constants"
    return UNEXPLAINED


def _faults(tap: str) -> list[Fault]:
    by_tap: dict[str, list[Fault]] = {
        "tap.input": [("swapped channels: BGR where RGB is expected", lambda x: x[:, ::-1])],
        "tap.decode.boxes": _box_codings(),
        "tap.head.class_logits": _class_shifts(axis=-1),
        "tap.decode.scores": _class_shifts(axis=-1),
    }
    return _class_shifts(axis=1) if "gfl_cls" in tap else by_tap.get(tap, [])


def _class_shifts(axis: int) -> list[Fault]:
    return [
        (
            f"off-by-one class: class c stands in place c {sign} 1",
            lambda x, step=step: np.roll(x, step, axis=axis),  # type: ignore[misc] # bound now
        )
        for step, sign in ((1, "+"), (-1, "-"))
    ]


def _box_codings() -> list[Fault]:
    def split(boxes: Values) -> tuple[Values, Values]:
        return boxes[..., :2], boxes[..., 2:]

    def centred(boxes: Values) -> Values:
        low, high = split(boxes)
        return np.concatenate(((low + high) / 2, high - low), axis=-1)

    def sized(boxes: Values) -> Values:
        low, high = split(boxes)
        return np.concatenate((low, high - low), axis=-1)

    return [
        ("wrong box coding: centre and size where corners are expected", centred),
        ("wrong box coding: corner and size where two corners are expected", sized),
        ("wrong box coding: y before x", lambda boxes: boxes[..., [1, 0, 3, 2]]),
    ]


def _of_pixels(reference: Values, candidate: Values, limit: float) -> str:
    ratio = float((reference * candidate).sum(dtype=np.float64) / max((candidate**2).sum(), 1e-12))
    if _distance(reference, candidate * ratio) < limit:
        return f"missing scaling: values are 1/{ratio:.4g} of what is expected"
    return "other preprocessing"


def _is_rescaled(reference: Values, candidate: Values, limit: float) -> bool:
    """Tell whether one factor and one shift per channel turn one map into the other.

    The constants are fitted on every other cell and tried on the cells between, both ways: what
    INT8 does to a few peaks of a small map would be fitted too, but foretells no other cell.
    """
    channels = reference.shape[1]
    x = np.moveaxis(reference, 1, 0).reshape(channels, -1).astype(np.float64)
    y = np.moveaxis(candidate, 1, 0).reshape(channels, -1).astype(np.float64)
    foretold = np.empty_like(y)
    even, odd = slice(0, None, 2), slice(1, None, 2)
    for fitted, tried in ((even, odd), (odd, even)):
        foretold[:, tried] = _rescaled(x[:, fitted], y[:, fitted], x[:, tried])
    return _distance(foretold, y) < limit


def _rescaled(x: Values, y: Values, at: Values) -> Values:
    """Return what the best factor and shift of each row, x (K, N) to y (K, N), make of `at`."""
    x_mean, y_mean = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    x_gap = x - x_mean
    factor = (x_gap * (y - y_mean)).sum(axis=1, keepdims=True)
    factor /= np.maximum((x_gap**2).sum(axis=1, keepdims=True), 1e-12)
    foretold: Values = y_mean + factor * (at - x_mean)
    return foretold


def _distance(expected: Values, seen: Values) -> float:
    gap = np.sqrt(np.mean((np.asarray(seen, np.float64) - expected) ** 2))
    return float(gap / max(float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))), 1e-12))
