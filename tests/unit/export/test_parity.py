import numpy as np
import pytest

from damo_yolo.export.parity import ParityMeter
from damo_yolo.samples import Detections


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(
        key="a/1",
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
    )


def outputs(scores: list[float], left: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """One image, a point per score, one class; boxes of 10 px from `left`."""
    boxes = np.tile(np.array([left, 0, 10, 10], np.float32), (len(scores), 1))
    return np.array(scores, np.float32).reshape(1, -1, 1), boxes[np.newaxis]


def test_differences_are_the_largest_and_the_mean_over_all_batches() -> None:
    meter = ParityMeter()

    meter.update(outputs([0.1, 0.9]), outputs([0.1, 0.8]))
    meter.update(outputs([0.5, 0.5]), outputs([0.5, 0.52], left=4.0))

    record = meter.record()
    assert record.num_images == 2
    assert record.max_score_diff == pytest.approx(0.1)
    assert record.mean_score_diff == pytest.approx(0.12 / 4)
    assert record.max_box_diff_px == pytest.approx(4.0)
    assert record.mean_box_diff_px == pytest.approx(8.0 / 16)


def test_constant_outputs_agree_and_prove_nothing() -> None:
    same, varied = ParityMeter(), ParityMeter()

    same.update(outputs([0.01, 0.01]), outputs([0.01, 0.01]))
    varied.update(outputs([0.01, 0.61]), outputs([0.01, 0.61]))

    assert same.record().max_score_diff == 0.0
    assert not same.record().proves_something
    assert varied.record().proves_something
    assert varied.record().score_spread == pytest.approx(0.3)


def test_certain_objects_of_the_reference_should_be_found_again() -> None:
    meter = ParityMeter()
    meter.update(outputs([0.9]), outputs([0.9]))
    box, moved, elsewhere = [0.0, 0, 10, 10], [0.0, 1, 10, 10], [50.0, 50, 60, 60]
    reference = found([box, box, elsewhere, box], [0.9, 0.8, 0.7, 0.1], [0, 1, 0, 2])

    meter.update_objects(reference, found([moved, box], [0.5, 0.5], [0, 2]))

    record = meter.record()
    assert record.num_objects == 3  # the one of score 0.1 is not certain
    assert record.found_again == pytest.approx(1 / 3)  # class 1 and the one elsewhere are lost


def test_nothing_to_find_counts_as_found() -> None:
    meter = ParityMeter()
    meter.update(outputs([0.9]), outputs([0.9]))
    meter.update_objects(found([], [], []), found([], [], []))

    assert meter.record().found_again == 1.0
