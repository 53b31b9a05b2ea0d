from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from damo_yolo.loading.lanes import walk_lane
from tests.picture_builders import painted


class CountingReader:
    """Stands for the shards: row r holds the picture with seed r."""

    def __init__(self) -> None:
        self.num_read = 0

    def stream(self, rows: Any, *, window: int) -> Iterator[Any]:
        assert window == 4
        for row in rows:
            self.num_read += 1
            yield SimpleNamespace(row=int(row))


def decode(raw: Any) -> Any:
    return painted(1, side=16, key=f"a/{raw.row}")


def walk(rows: Any, reader: CountingReader, **settings: int) -> list[tuple[int, str, list[str]]]:
    places = walk_lane(reader, np.array(rows), decode, read_ahead=4, **settings)  # type: ignore[arg-type]
    return [(place.index, place.sample.key, [s.key for s in place.window]) for place in places]


def test_the_window_is_the_samples_before_and_at_the_start_the_first_ones() -> None:
    places = walk([10, 11, 12, 13, 14, 15], CountingReader(), start=0, window=3)

    assert [(index, key) for index, key, _ in places] == [(i, f"a/{10 + i}") for i in range(6)]
    assert [window for _, _, window in places] == [
        ["a/11", "a/12", "a/13"],
        ["a/10", "a/12", "a/13"],
        ["a/10", "a/11", "a/13"],
        ["a/10", "a/11", "a/12"],
        ["a/11", "a/12", "a/13"],
        ["a/12", "a/13", "a/14"],
    ]


def test_every_image_is_decoded_once() -> None:
    reader = CountingReader()

    walk(range(50), reader, start=0, window=7)

    assert reader.num_read == 50


@pytest.mark.parametrize("start", range(13))
def test_a_later_start_sees_the_same_windows(start: int) -> None:
    reader = CountingReader()
    whole = walk(range(12), CountingReader(), start=0, window=4)

    assert walk(range(12), reader, start=start, window=4) == whole[start:]
    assert reader.num_read <= 12 - start + 4


def test_a_lane_shorter_than_its_window_gives_all_it_has() -> None:
    places = walk([1, 2, 3], CountingReader(), start=0, window=8)

    assert [window for _, _, window in places] == [["a/2", "a/3"], ["a/1", "a/3"], ["a/1", "a/2"]]


def test_without_a_window_nothing_is_read_ahead() -> None:
    reader = CountingReader()

    places = walk_lane(reader, np.arange(9), decode, start=4, window=0, read_ahead=4)  # type: ignore[arg-type]

    assert next(places).window == []
    assert reader.num_read == 1
