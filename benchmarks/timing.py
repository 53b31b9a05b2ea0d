"""Timing several sides of a comparison so that noise of the machine meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def interleaved(sides: Sequence[Callable[[], Any]], *, repeats: int) -> list[float]:
    """Return the median CPU seconds of each side, which take turns, after one warm-up each."""
    times: list[list[float]] = [[] for _ in sides]
    for repeat in range(repeats + 1):
        for kept, run in zip(times, sides, strict=True):
            start = time.process_time()
            run()
            if repeat:
                kept.append(time.process_time() - start)
    return [statistics.median(kept) for kept in times]
