import numpy as np
import pytest

from damo_yolo.evaluation.coco_ap import average_precision
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.matches import Matches
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, FAR, make_found, make_truth, random_case

EVERY_IMAGE_ONCE = 1


@pytest.mark.parametrize("seed", range(6))
def test_ap_of_the_matches_is_that_of_coco(seed: int) -> None:
    names = tuple(str(i) for i in range(6))
    detections, truths = random_case(images=4 + 5 * seed, classes=6, seed=seed, known_share=0.7)
    expected = average_precision(detections, truths, class_names=names)

    matches = Matches.of(detections, truths, num_classes=6)
    table = matches.average_precision(np.full((1, len(truths)), EVERY_IMAGE_ONCE))[0]

    assert [class_id for class_id, _ in matches.by_class()] == [
        item.class_id for item in expected.per_class
    ]
    assert table.mean(axis=1) == pytest.approx([c.ap for c in expected.per_class], abs=1e-12)
    assert table[:, 0] == pytest.approx([c.ap50 for c in expected.per_class], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_an_image_that_counts_twice_is_as_good_as_a_copy_of_it(seed: int) -> None:
    names = tuple(str(i) for i in range(4))
    detections, truths = random_case(images=8, classes=4, seed=seed)
    times = np.array([0, 3, 1, 2, 0, 1, 1, 0])

    rows = zip(detections, truths, times.tolist(), strict=True)
    copies = [copied(found, truth, i) for found, truth, n in rows for i in range(n)]
    expected = average_precision([d for d, _ in copies], [t for _, t in copies], class_names=names)
    table = Matches.of(detections, truths, num_classes=4).average_precision(times[np.newaxis])

    assert np.nanmean(table) == pytest.approx(expected.ap, abs=1e-12)


def copied(found: Detections, truth: ImageTruth, number: int) -> tuple[Detections, ImageTruth]:
    key = f"{truth.key}-{number}"
    return (
        Detections(key, found.boxes, found.scores, found.labels),
        ImageTruth(key, truth.dataset, truth.boxes, truth.class_ids, truth.is_crowd, truth.known),
    )


def test_a_draw_without_the_class_has_no_figure() -> None:
    truths = [make_truth("a/1", labels=(0,)), make_truth("a/2", labels=(1,))]
    found = [make_found([BOX], [0.9], [0], key="a/1"), make_found([BOX], [0.9], [1], key="a/2")]

    table = Matches.of(found, truths, num_classes=3).average_precision(np.array([[2, 0], [1, 1]]))

    assert np.isnan(table[0, 1]).all()
    assert (table[0, 0, 0], table[1, 0, 0], table[1, 1, 0]) == (1.0, 1.0, 1.0)


def test_a_detection_on_a_crowd_is_neither_right_nor_wrong() -> None:
    truths = [make_truth(boxes=[BOX, FAR], labels=(0, 0), crowd=[True, False])]
    found = [make_found([BOX, FAR, (0, 500, 50, 600)], [0.9, 0.8, 0.7], [0, 0, 0])]

    matches = Matches.of(found, truths, num_classes=3)

    assert matches.ignored[:, 0].tolist() == [True, False, False]
    assert matches.matched[:, 0].tolist() == [False, True, False]
    assert matches.object_class.tolist() == [0]


def test_images_without_objects_or_detections_are_no_trouble() -> None:
    truths = [make_truth("a/1", boxes=(), labels=()), make_truth("a/2")]

    matches = Matches.of([], truths, num_classes=3)

    assert matches.average_precision(np.ones((1, 2), int)).tolist() == [[[0.0] * 10]]
