"""What a run has seen, whoever saw it."""

import pytest

from damo_yolo.errors import TrainingError
from damo_yolo.training.seen import Quarantine, SampleOrder

STEPS: list[tuple[str, ...]] = [("a", "b"), ("c", "d")]


def _seen(*ranks: list[tuple[str, ...]]) -> str:
    orders = [SampleOrder() for _ in ranks]
    for order, steps in zip(orders, ranks, strict=True):
        for step, keys in enumerate(steps):
            order.add(step, keys)
    whole = SampleOrder(own=sum(order.own for order in orders))
    whole.merge()
    return whole.text


def test_ranks_that_share_a_step_add_up_to_the_same_fingerprint() -> None:
    assert _seen([("a",), ("c",)], [("b",), ("d",)]) == _seen(STEPS)


@pytest.mark.parametrize(
    "other",
    [
        [("a", "c"), ("b", "d")],
        [("c", "d"), ("a", "b")],
        [("a", "b"), ("c", "c")],
        [("a", "b"), ("c",)],
    ],
)
def test_another_order_gives_another_fingerprint(other: list[tuple[str, ...]]) -> None:
    assert _seen(other) != _seen(STEPS)


def test_a_fingerprint_goes_on_from_its_text() -> None:
    first = SampleOrder()
    first.add(0, STEPS[0])
    first.merge()
    resumed = SampleOrder.of_text(first.text)
    resumed.add(1, STEPS[1])
    resumed.merge()

    assert resumed.text == _seen(STEPS)


def test_few_broken_images_are_counted_once_each() -> None:
    quarantine = Quarantine(num_images=1000)
    for _ in range(3):
        quarantine.take(["coco/7"])
    quarantine.merge(0.001)

    assert quarantine.keys == {"coco/7"}


def test_more_broken_images_than_the_share_stop_the_run() -> None:
    quarantine = Quarantine(num_images=1000)
    quarantine.take(["coco/7", "coco/8"])

    with pytest.raises(TrainingError, match=r"2 of 1000 .* first: coco/7, coco/8"):
        quarantine.merge(0.001)


def test_a_share_of_0_stops_at_the_first_broken_image() -> None:
    quarantine = Quarantine(num_images=1000)
    quarantine.merge(0.0)
    quarantine.take(["coco/7"])

    with pytest.raises(TrainingError, match="1 of 1000"):
        quarantine.merge(0.0)
