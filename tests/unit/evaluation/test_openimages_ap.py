"""Every figure here can be had with pencil and paper.

The tree: 0 animal, above 1 cat and 2 dog; 3 car stands alone.
"""

from dataclasses import replace

import numpy as np
import pytest

from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.openimages_ap import OpenImagesAp, openimages_ap50, verified_classes
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, FAR, make_found, make_truth

ANIMAL, CAT, DOG, CAR = range(4)
ANCESTORS = {CAT: frozenset({ANIMAL}), DOG: frozenset({ANIMAL})}
GROUP = (0.0, 0.0, 400.0, 400.0)
INSIDE = ((10.0, 10.0, 60.0, 60.0), (100.0, 100.0, 150.0, 150.0), (200.0, 200.0, 260.0, 260.0))


def truth(
    boxes: list[tuple[float, ...]],
    labels: list[int],
    *,
    known: tuple[int, ...] = (0, 1, 2, 3),
    group: tuple[bool, ...] | None = None,
    key: str = "a/1",
) -> ImageTruth:
    return make_truth(key, boxes, labels, known=known, crowd=group, num_classes=4)


def figure(found: list[Detections], truths: list[ImageTruth]) -> OpenImagesAp:
    return openimages_ap50(found, truths, class_ids=range(4), ancestors=ANCESTORS)


def test_a_box_of_a_cat_is_also_a_box_of_an_animal() -> None:
    only_cat = figure([make_found([BOX], [0.9], [CAT])], [truth([BOX], [CAT])])
    both = figure([make_found([BOX, BOX], [0.9, 0.8], [CAT, ANIMAL])], [truth([BOX], [CAT])])

    assert only_cat.per_class == {ANIMAL: 0.0, CAT: 1.0}
    assert only_cat.ap50 == 0.5
    assert (both.ap50, both.num_objects) == (1.0, 2)


def test_detections_are_not_expanded() -> None:
    """A cat found where a dog is: no animal was found, though a cat is one."""
    result = figure([make_found([BOX], [0.9], [CAT])], [truth([BOX], [DOG])])

    assert result.per_class == {ANIMAL: 0.0, DOG: 0.0}


def test_an_unverified_class_costs_nothing() -> None:
    found = [make_found([BOX, FAR], [0.5, 0.9], [CAR, CAR])]

    verified = figure(found, [truth([BOX], [CAR])])
    elsewhere = [truth([BOX], [CAR]), truth([], [], known=(CAT,), key="a/2")]
    cars_in_the_second = make_found([FAR, BOX], [0.99, 0.98], [CAR, CAR], key="a/2")

    assert verified.per_class[CAR] == 0.5  # wrong, right: precision 1/2 at the only object
    assert figure([*found, cars_in_the_second], elsewhere).per_class[CAR] == 0.5


def test_a_verified_absent_class_costs() -> None:
    truths = [truth([BOX], [CAR]), truth([], [], known=(CAR,), key="a/2")]
    found = [make_found([BOX], [0.5], [CAR]), make_found([BOX], [0.9], [CAR], key="a/2")]

    assert figure(found, truths).per_class[CAR] == 0.5


def test_no_animal_means_no_cat() -> None:
    nothing = truth([], [], known=(ANIMAL,))
    a_cat = truth([BOX], [CAT], known=(CAT,))

    assert np.flatnonzero(verified_classes(nothing, ANCESTORS)).tolist() == [ANIMAL, CAT, DOG]
    assert np.flatnonzero(verified_classes(a_cat, ANCESTORS)).tolist() == [ANIMAL, CAT]


def test_many_detections_in_a_group_are_one_right_one() -> None:
    found = [make_found(INSIDE, [0.9, 0.8, 0.7], [CAR] * 3)]

    result = figure(found, [truth([GROUP], [CAR], group=(True,))])

    assert (result.per_class[CAR], result.num_objects) == (1.0, 1)


def test_a_group_that_holds_nothing_is_one_missed_object() -> None:
    truths = [truth([GROUP, (500.0, 0.0, 600.0, 100.0)], [CAR, CAR], group=(True, False))]

    result = figure([make_found([(500, 0, 600, 100)], [0.9], [CAR])], truths)

    assert result.per_class[CAR] == 0.5


def test_a_group_counts_with_its_best_score() -> None:
    """By score: group 0.9, wrong 0.8, right 0.7. Precision 1 at half recall, then 2/3."""
    far, lone = (500.0, 500.0, 600.0, 600.0), (700.0, 0.0, 800.0, 100.0)
    truths = [truth([GROUP, lone], [CAR, CAR], group=(True, False))]
    found = [make_found([INSIDE[0], INSIDE[1], far, lone], [0.9, 0.1, 0.8, 0.7], [CAR] * 4)]

    assert figure(found, truths).per_class[CAR] == pytest.approx((1 + 2 / 3) / 2)


def test_half_of_the_detection_must_lie_in_the_group() -> None:
    """400 wide group; the detection has 40 % of its area inside."""
    outside = (360.0, 0.0, 460.0, 100.0)

    result = figure([make_found([outside], [0.9], [CAR])], [truth([GROUP], [CAR], group=(True,))])

    assert result.per_class[CAR] == 0.0


def test_single_objects_go_before_groups() -> None:
    """The best detection takes the single object inside the group, the next one the group."""
    truths = [truth([GROUP, INSIDE[0]], [CAR, CAR], group=(True, False))]

    result = figure([make_found(INSIDE[:2], [0.9, 0.8], [CAR, CAR])], truths)

    assert result.per_class[CAR] == 1.0


def test_a_second_detection_of_one_object_is_wrong() -> None:
    lone = (300.0, 300.0, 350.0, 350.0)
    truths = [truth([BOX, lone], [CAR, CAR])]
    found = [make_found([BOX, BOX, lone], [0.9, 0.8, 0.7], [CAR] * 3)]

    # right, wrong, right: precision 1 at recall 1/2, 2/3 at recall 1
    assert figure(found, truths).per_class[CAR] == pytest.approx((1 + 2 / 3) / 2)


def test_classes_outside_the_challenge_are_left_out() -> None:
    result = openimages_ap50(
        [make_found([BOX], [0.9], [CAR])],
        [truth([BOX], [CAR])],
        class_ids=[CAT],
        ancestors=ANCESTORS,
    )

    assert (result.ap50, result.per_class) == (-1.0, {})


def test_a_class_that_was_seen_and_has_no_box_is_verified_and_so_is_what_is_above_it() -> None:
    """Somebody saw a cat and a car; nobody drew the cat. The dog was looked for in vain."""
    image = replace(
        truth([BOX], [CAR], known=(DOG, CAR)), verified=np.array([False, True, True, True])
    )

    assert np.flatnonzero(verified_classes(image, ANCESTORS)).tolist() == [ANIMAL, CAT, DOG, CAR]
    other = truth([BOX], [CAT], key="a/2")
    found = [make_found([BOX], [0.9], [CAT]), make_found([BOX], [0.5], [CAT], key="a/2")]
    assert figure(found, [image, other]).per_class[CAT] == 0.5


def test_what_is_below_a_class_that_was_seen_stays_unverified() -> None:
    """Somebody saw an animal without saying which: a cat found there is neither right nor wrong."""
    image = replace(truth([], [], known=()), verified=np.array([True, False, False, False]))

    assert np.flatnonzero(verified_classes(image, ANCESTORS)).tolist() == [ANIMAL]


def test_a_group_of_cats_is_a_group_of_animals() -> None:
    """Two animals found in it are one right detection, as two cats are."""
    cats = [make_found(INSIDE[:2] * 2, [0.9, 0.8, 0.7, 0.6], [CAT, CAT, ANIMAL, ANIMAL])]

    result = figure(cats, [truth([GROUP], [CAT], group=(True,))])

    assert result.per_class == {ANIMAL: 1.0, CAT: 1.0}
    assert result.num_objects == 2


def test_the_class_tree_the_groups_and_verified_labels_together() -> None:
    """One image with a cat, a group of dogs, no car; the other with an unseen car.

    cat: right. dog: wrong 0.9, group 0.8: precision 1/2 at its one object. animal: cat's box 0.9
    right, 0.8 in the group right: 1. The car of the second image counts, that of the first, where
    cars were looked for in vain, is wrong: wrong 0.95, right 0.6: 1/2.
    """
    first = truth([BOX, GROUP], [CAT, DOG], known=(CAT, DOG, CAR), group=(False, True))
    second = truth([FAR], [CAR], known=(), key="a/2")
    lone = (700.0, 700.0, 800.0, 800.0)
    found = [
        make_found(
            [BOX, lone, INSIDE[2], BOX, INSIDE[1], lone],
            [0.9, 0.9, 0.8, 0.9, 0.8, 0.95],
            [CAT, DOG, DOG, ANIMAL, ANIMAL, CAR],
        ),
        make_found([FAR, BOX], [0.6, 0.99], [CAR, CAT], key="a/2"),  # cats were not looked for
    ]

    result = figure(found, [first, second])

    assert result.per_class == {ANIMAL: 1.0, CAT: 1.0, DOG: 0.5, CAR: 0.5}
    assert result.ap50 == 0.75
    assert result.num_objects == 5
