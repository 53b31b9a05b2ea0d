"""One image, one mistake: the counts can be had with pencil and paper."""

import pytest

from damo_yolo.evaluation.errors import (
    ErrorAnalysis,
    ErrorConfig,
    analyse_errors,
    calibration,
    precision_curve,
)
from damo_yolo.evaluation.ground_truth import ImageTruth
from damo_yolo.evaluation.matches import Matches
from damo_yolo.samples import Detections
from tests.evaluation_builders import BOX, FAR, make_found, make_truth

TOP = (10.0, 10.0, 110.0, 40.0)
"""The upper third of BOX: IoU 0.3 with it."""
NEARLY = (10.0, 10.0, 110.0, 100.0)


def analyse(found: list[Detections], truths: list[ImageTruth], **settings: int) -> ErrorAnalysis:
    config = ErrorConfig(**settings)
    return analyse_errors(found, truths, num_classes=3, dataset="a", config=config)


@pytest.mark.parametrize(
    ("boxes", "labels", "counts"),
    [
        ([BOX], [0], {}),
        ([TOP], [0], {"localisation": 1}),
        ([BOX], [1], {"class": 1}),
        ([TOP], [1], {"class and localisation": 1, "missed": 1}),
        ([BOX, NEARLY], [0, 0], {"duplicate": 1}),
        ([BOX, FAR], [0, 0], {"background": 1}),
    ],
)
def test_each_mistake_has_its_name(
    boxes: list[tuple[float, ...]], labels: list[int], counts: dict[str, int]
) -> None:
    scores = [0.9, 0.8][: len(boxes)]

    result = analyse([make_found(boxes, scores, labels)], [make_truth()])

    assert {item.name: item.count for item in result.types if item.count} == counts


def test_a_corrected_place_wins_what_it_costs() -> None:
    result = analyse([make_found([TOP], [0.9], [0])], [make_truth()])

    assert result.types[0].name == "localisation"
    assert result.types[0].ap50_cost == pytest.approx(1.0)


def test_confusions_name_both_classes() -> None:
    truths = [make_truth(f"a/{i}") for i in range(4)]
    found = [make_found([BOX], [0.9], [1 if i else 0], key=f"a/{i}") for i in range(4)]

    (confusion,) = analyse(found, truths).confusions

    assert (confusion.class_id, confusion.found_as, confusion.count) == (0, 1, 3)
    assert confusion.share == 0.75


def test_detections_of_unknown_classes_are_no_errors() -> None:
    """Class 1 is not known here; of class 0, present but incomplete, strays do not count."""
    found = [make_found([BOX, FAR, FAR], [0.9, 0.8, 0.7], [0, 1, 0])]

    result = analyse(found, [make_truth(known=())])

    assert sum(item.count for item in result.types) == 0
    assert result.worst == ()
    assert result.confusions == ()


def test_calibration_compares_scores_with_precision() -> None:
    """Ten detections of score 0.85, six of them right; two of 0.15, none right."""
    truths = [make_truth(f"a/{i:02d}") for i in range(12)]
    found = [
        make_found([BOX if i < 6 else FAR], [0.85 if i < 10 else 0.15], [0], key=truth.key)
        for i, truth in enumerate(truths)
    ]

    low, high = calibration(Matches.of(found, truths, num_classes=3), 10)

    assert (low.low, low.high, low.count, low.precision) == (0.1, 0.2, 2, 0.0)
    assert (high.low, high.count, high.precision) == (0.8, 10, 0.6)
    assert high.mean_score == pytest.approx(0.85)
    error = analyse(found, truths).expected_calibration_error
    assert error == pytest.approx((10 * 0.25 + 2 * 0.15) / 12, abs=1e-6)


def test_the_curve_falls_where_wrong_detections_come() -> None:
    """Right, wrong, right of two objects: precision 1 up to half recall, then 2/3."""
    truths = [make_truth(boxes=[BOX, FAR], labels=(0, 0))]
    found = [make_found([BOX, (200, 0, 250, 50), FAR], [0.9, 0.8, 0.7], [0, 0, 0])]

    curve = precision_curve(Matches.of(found, truths, num_classes=3), 0)

    assert curve.iou == 0.5
    assert curve.precision[0] == curve.precision[50] == 1.0
    assert curve.precision[51] == curve.precision[100] == pytest.approx(2 / 3, abs=1e-6)


def test_the_worst_image_comes_first_and_perfect_ones_never() -> None:
    truths = [make_truth(f"a/{i}", boxes=[BOX, FAR], labels=(0, 0)) for i in range(3)]
    found = [
        make_found([BOX, FAR], [0.9, 0.8], [0, 0], key="a/0"),
        make_found([BOX], [0.9], [0], key="a/1"),
        make_found([(0, 300, 9, 309), TOP], [0.9, 0.1], [0, 0], key="a/2"),
    ]

    worst = analyse(found, truths).worst

    assert [(w.key, w.num_missed, w.num_wrong, w.num_right) for w in worst] == [
        ("a/2", 2, 1, 0),  # the detection of score 0.1 is not shown
        ("a/1", 1, 0, 1),
    ]


def test_more_images_than_allowed_are_sampled() -> None:
    truths = [make_truth(f"a/{i:02d}") for i in range(30)]

    result = analyse([], truths, max_images=10, num_worst=30)

    assert result.num_images == 10
    assert len({item.key for item in result.worst}) == 10


def test_nothing_found_is_nothing_to_explain() -> None:
    result = analyse([], [make_truth()])

    assert (result.types, result.calibration, result.expected_calibration_error) == ((), (), 0)
    assert set(result.curves[0].precision) == {0.0}
