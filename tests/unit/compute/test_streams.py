"""A generator function over many items."""

from collections.abc import Iterator

import pytest

from damo_yolo.compute.streams import stream_tasks
from damo_yolo.errors import DataError


def count_to(number: int) -> Iterator[int]:
    if number < 0:
        raise DataError("negative", fix="count up")
    yield from range(number)


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(stream_tasks(count_to, [2, 0, 3], spread=False)) == [0, 1, 0, 1, 2]


def test_nothing_runs_before_it_is_asked_for() -> None:
    results = stream_tasks(count_to, [1, -1], spread=False)

    assert next(results) == 0
    with pytest.raises(DataError, match="negative"):
        next(results)
