"""Sets of pairs of image and class."""

import numpy as np

from damo_yolo.datasets.pairs import ClassEdges, ClassPairs


def pairs(*found: tuple[int, int]) -> ClassPairs:
    images, classes = np.array(found, np.int64).reshape(-1, 2).T
    return ClassPairs(images, classes)


def listed(found: ClassPairs) -> list[tuple[int, int]]:
    once = ClassPairs.from_packed(found.packed())
    return list(zip(once.images.tolist(), once.classes.tolist(), strict=True))


def test_a_pair_that_comes_twice_counts_once_and_images_come_in_order() -> None:
    assert listed(pairs((2, 5), (0, 7), (2, 5), (0, 3))) == [(0, 3), (0, 7), (2, 5)]


def test_pairs_without_others_are_what_only_the_first_have() -> None:
    assert listed(pairs((0, 1), (0, 2), (1, 1)).without(pairs((0, 2), (1, 2)))) == [(0, 1), (1, 1)]
    assert listed(ClassPairs.none().without(pairs((0, 2)))) == []


def test_following_edges_leads_each_image_to_all_targets_of_its_classes() -> None:
    above = ClassEdges.of([[], [0], [0, 1]])

    assert listed(pairs((4, 2), (5, 0), (6, 1)).followed(above)) == [(4, 0), (4, 1), (6, 0)]
    assert listed(ClassPairs.none().followed(above)) == []
