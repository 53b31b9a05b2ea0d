"""What a difference looks like, and what it is called."""

import numpy as np
import pytest
from numpy.typing import NDArray

from damo_yolo.export.causes import UNEXPLAINED, explain

INT8_TOLERANCE = 0.3
SIDES = (4, 8, 16)


def maps(side: int) -> NDArray[np.float64]:
    """Return (1, 48, side, side) values around 0, with a peak in every channel."""
    values = np.random.default_rng(side).normal(scale=0.3, size=(1, 48, side, side))
    values[:, :, 1, 2] = 20
    return values


@pytest.mark.parametrize("side", SIDES)
def test_channels_with_constants_of_their_own_are_a_stale_batch_norm(side: int) -> None:
    reference = maps(side)
    rng = np.random.default_rng(0)
    factor, shift = rng.uniform(0.5, 2, (1, 48, 1, 1)), rng.normal(size=(1, 48, 1, 1))
    noise = rng.normal(scale=0.05, size=reference.shape)  # of rounding

    cause = explain("tap.neck.3", reference, reference * factor + shift + noise, tolerance=0.1)

    assert cause.startswith("stale batch norm")


@pytest.mark.parametrize("side", SIDES)
def test_peaks_that_int8_clips_are_no_stale_batch_norm(side: int) -> None:
    reference = maps(side)

    cause = explain("tap.neck.3", reference, reference.clip(-4, 9), tolerance=INT8_TOLERANCE)

    assert cause == UNEXPLAINED
