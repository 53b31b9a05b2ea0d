from functools import reduce
from operator import add

import pytest

from damo_yolo.evaluation.coco_ap import ApResult, ApTally, average_precision, in_order
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, NAMES, make_found, make_truth, random_case


def evaluate(detections: list[Detections], truths: list[ImageTruth]) -> ApResult:
    return average_precision(detections, truths, class_names=NAMES)


def test_the_right_box_gives_one_and_a_missed_object_zero() -> None:
    truths = [make_truth("a/1"), make_truth("a/2", labels=(1,))]

    result = evaluate([make_found([BOX], [0.9], [0], key="a/1")], truths)

    assert [item.ap for item in result.per_class] == pytest.approx([1.0, 0.0])
    assert result.ap == pytest.approx(0.5)
    assert (result.num_images, result.num_objects, result.num_classes) == (2, 2, 2)


def test_a_better_scored_wrong_box_halves_the_precision() -> None:
    wrong = (200.0, 200.0, 300.0, 300.0)

    result = evaluate([make_found([BOX, wrong], [0.8, 0.9], [0, 0])], [make_truth()])

    assert result.ap == pytest.approx(0.5)
    assert result.ap50 == pytest.approx(0.5)


def test_a_box_of_iou_0_62_counts_at_three_of_ten_thresholds() -> None:
    low = (10.0, 10.0, 110.0, 72.0)

    result = evaluate([make_found([low], [0.9], [0])], [make_truth()])

    assert result.ap == pytest.approx(0.3)
    assert result.ap50 == pytest.approx(1.0)
    assert result.ap75 == pytest.approx(0.0)


def test_size_bands_without_an_object_say_minus_one() -> None:
    small = (0.0, 0.0, 20.0, 20.0)

    result = evaluate([make_found([small], [0.9], [0])], [make_truth(boxes=(small,))])

    assert result.ap_small == pytest.approx(1.0)
    assert (result.ap_medium, result.ap_large) == (-1.0, -1.0)


def test_no_object_at_all_gives_minus_one_and_no_class() -> None:
    result = evaluate([make_found([BOX], [0.9], [0])], [make_truth(boxes=(), labels=())])

    assert result.ap == -1.0
    assert result.per_class == ()


def test_a_detection_of_a_class_unknown_in_the_image_is_dropped() -> None:
    truths = [make_truth("a/1", known=(0, 2)), make_truth("a/2", labels=(1,), known=(1,))]
    dogs = [
        make_found([BOX, BOX], [0.9, 0.99], [0, 1], key="a/1"),  # a dog may be there
        make_found([BOX], [0.5], [1], key="a/2"),
    ]

    assert evaluate(dogs, truths).ap == pytest.approx(1.0)
    known = [make_truth("a/1"), truths[1]]
    assert evaluate(dogs, known).per_class[1].ap == pytest.approx(0.5)


def test_of_a_present_but_incomplete_class_matches_count_and_the_rest_is_ignored() -> None:
    elsewhere = (-30.0, 200.0, 300.0, 300.0)
    incomplete = [make_truth(known=(1, 2))]

    hit = evaluate([make_found([elsewhere, BOX], [0.9, 0.8], [0, 0])], incomplete)
    miss = evaluate([make_found([elsewhere], [0.9], [0])], incomplete)

    assert hit.ap == pytest.approx(1.0)
    assert miss.ap == pytest.approx(0.0)
    assert hit.num_objects == 1


def test_crowd_regions_absorb_detections_and_are_no_objects() -> None:
    crowd = (200.0, 200.0, 400.0, 400.0)
    inside = [(210.0, 210.0, 260.0, 260.0), (300.0, 300.0, 350.0, 350.0)]
    truths = [make_truth(boxes=(BOX, crowd), labels=(0, 0), crowd=(False, True))]

    result = evaluate([make_found([*inside, BOX], [0.99, 0.98, 0.5], [0, 0, 0])], truths)

    assert result.ap == pytest.approx(1.0)
    assert result.num_objects == 1


def test_a_class_with_nothing_but_crowds_is_not_in_the_mean() -> None:
    truths = [make_truth(boxes=(BOX, BOX), labels=(0, 1), crowd=(False, True))]

    result = evaluate([make_found([BOX], [0.9], [0])], truths)

    assert [item.name for item in result.per_class] == ["cat"]
    assert result.ap == pytest.approx(1.0)


def test_a_limit_per_image_counts_after_unknown_classes_are_dropped() -> None:
    found = [make_found([*[BOX] * 150, BOX], [0.9] * 150 + [0.5], [1] * 150 + [0])]

    def limited(known: tuple[int, ...], limit: int | None) -> float:
        truths = [make_truth(known=known)]
        return average_precision(found, truths, class_names=NAMES, max_detections=limit).ap

    assert limited((0,), 100) == pytest.approx(1.0)
    assert limited((0, 1), 100) == pytest.approx(0.0)
    assert limited((0, 1), None) == pytest.approx(1.0)


def test_the_hundred_best_of_each_class_are_counted() -> None:
    wrong = [(300.0, 300.0, 310.0, 310.0)]

    def ap_behind(count: int) -> float:
        return evaluate(
            [make_found([*wrong * count, BOX], [0.9] * count + [0.5], [0] * (count + 1))],
            [make_truth()],
        ).ap

    assert ap_behind(99) == pytest.approx(0.01)
    assert ap_behind(100) == 0.0


def test_the_order_of_images_and_detections_changes_nothing() -> None:
    detections, truths = random_case(images=6, classes=3, seed=1)

    assert evaluate(detections, truths) == evaluate(detections[::-1], truths[::-1])


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate([make_found([BOX], [0.9], [0])], [make_truth()])

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("num_parts", [2, 3, 7])
def test_parts_matched_apart_and_joined_give_the_very_same_figures(num_parts: int) -> None:
    detections, truths = random_case(images=20, classes=5, seed=3)
    found = {item.key: item for item in detections}
    whole = average_precision(detections, truths, class_names="abcde")

    parts = [ApTally(5) for _ in range(num_parts)]
    for image_id, truth in enumerate(in_order(truths), start=1):
        parts[image_id % num_parts].add(image_id, truth, found.get(truth.key))
    sent = [ApTally.from_bytes(part.to_bytes()) for part in reversed(parts)]

    joined = reduce(add, sent)

    assert joined.result("abcde") == whole
    assert 0.1 < whole.ap < 0.9


def test_no_image_gives_no_figure() -> None:
    result = evaluate([], [])

    assert (result.ap, result.recall, result.num_images, result.per_class) == (-1, -1, 0, ())


def test_the_one_best_detection_of_an_image_recalls_one_object_of_two() -> None:
    truths = [make_truth(boxes=[BOX, (200, 200, 300, 300)], labels=(0, 0))]

    result = evaluate([make_found([BOX, (200, 200, 300, 300)], [0.9, 0.8], [0, 0])], truths)

    assert (result.recall_1, result.recall_10, result.recall) == (0.5, 1.0, 1.0)
