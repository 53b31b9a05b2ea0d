"""One lane of the global order as decoded samples, each with a window of its neighbours.

Shapes: T samples of a lane, K window.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo.loading.decode import Decode
from damo_yolo.samples import Sample
from damo_yolo.shards.read import ShardReader


@dataclass(frozen=True, slots=True)
class InLane:
    """A sample at its place in a lane."""

    index: int
    sample: Sample
    window: list[Sample]
    """The K samples before it; at the start of a lane, the first K + 1 but itself."""


def walk_lane(
    reader: ShardReader,
    rows: NDArray[np.integer[Any]],
    decode: Decode,
    *,
    start: int,
    window: int,
    read_ahead: int,
) -> Iterator[InLane]:
    """Yield the samples of a lane from index `start` on, decoding every image once.

    The first K + 1 are decoded before the first one is yielded; a later start decodes the K before
    it again. So a sample sees the same window wherever the walk began.

    Args:
        reader: of the shards.
        rows: (T,) rows of the manifest.
        decode: what turns a stored sample into pixels.
        start: index of the first sample to yield.
        window: K; 0 needs no neighbours.
        read_ahead: stored samples that are read at once.
    """
    first = max(start - window, 0)
    raw_samples = reader.stream(rows[first:], window=read_ahead)
    held: deque[Sample] = deque(maxlen=window + 1)  # the last ones of `num_decoded`
    num_decoded = first
    least = min(window + 1, len(rows))
    for index in range(start, len(rows)):
        while num_decoded < max(index + 1, least):
            held.append(decode(next(raw_samples)))
            num_decoded += 1
        place = index - (num_decoded - len(held))
        others = [other for position, other in enumerate(held) if position != place]
        yield InLane(index, held[place], others)
