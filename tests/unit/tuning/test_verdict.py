import numpy as np
import pytest

from damo_yolo.evaluation.bootstrap import compare
from damo_yolo.evaluation.matches import Matches
from damo_yolo.tuning.verdict import compare_seeds
from tests.evaluation_builders import BOX, FAR, make_found, make_truth


def finds(share: float, *, images: int = 60, labels: tuple[int, ...] = (0,)) -> Matches:
    """One object of each class an image, found in the first share of the images."""
    boxes = [[BOX[0] + 150 * k, BOX[1], BOX[2] + 150 * k, BOX[3]] for k in range(len(labels))]
    truths = [make_truth(f"a/{i:03d}", boxes, labels) for i in range(images)]
    found = [
        make_found(
            [boxes[0] if i < share * images else FAR, *boxes[1:]],
            [0.9] * len(labels),
            labels,
            key=truth.key,
        )
        for i, truth in enumerate(truths)
    ]
    return Matches.of(found, truths, num_classes=3)


def test_the_same_models_show_no_difference() -> None:
    one = finds(0.5)

    result = compare_seeds([(one, one)] * 3, seeds=[7, 8, 9])

    gap = result.difference
    assert (gap.difference, gap.low, gap.high) == (0, 0, 0)
    assert gap.verdict == "no difference shown"
    assert (result.seeds, len(result.best), result.num_images) == ((7, 8, 9), 3, 60)


def test_a_gain_that_every_seed_shows_is_better_and_its_reverse_worse() -> None:
    pairs = [(finds(0.9), finds(0.5)), (finds(0.85), finds(0.5)), (finds(0.9), finds(0.45))]

    forth = compare_seeds(pairs, seeds=[1, 2, 3]).difference
    back = compare_seeds([(b, a) for a, b in pairs], seeds=[1, 2, 3]).difference

    assert (forth.verdict, back.verdict) == ("better", "worse")
    assert forth.low < forth.difference < forth.high
    assert forth.difference == pytest.approx(forth.a - forth.b)


def test_seeds_that_disagree_show_nothing_though_one_alone_would() -> None:
    up, down = (finds(0.95), finds(0.5)), (finds(0.5), finds(0.7))

    assert compare(*up).ap.verdict == "better"
    assert compare_seeds([up, down, up], seeds=[1, 2, 3]).difference.verdict == (
        "no difference shown"
    )


def test_only_the_classes_asked_for_count() -> None:
    worse, better = finds(0.2, labels=(0, 1)), finds(0.9, labels=(0, 1))  # class 1: always found

    everything = compare_seeds([(better, worse)], seeds=[1])
    other = compare_seeds([(better, worse)], seeds=[1], class_ids={1}, figure="AP of rare classes")

    assert everything.difference.difference > 0
    assert other.difference.difference == 0
    assert np.allclose(other.best, 1.0)
    assert other.figure == "AP of rare classes"
