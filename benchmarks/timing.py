"""Timing several sides of a comparison so that noise of the machine meets all of them alike."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch


def parse_repeats(description: str | None, *, default: int) -> int:
    """Read --repeats and --threads, set the threads, and return the repeats."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads")
    repeats: int = options.repeats
    return repeats


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
