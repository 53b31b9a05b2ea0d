import pytest
import torch
from torch import Tensor

from damo_yolo.models.postprocess import CHUNK, postprocess, suppress
from tests.plain_suppression import crowd, suppress_by_class

SQUARE = [0.0, 0.0, 10.0, 10.0]
SHIFTED = [0.0, 0.0, 10.0, 5.0]  # IoU with the square: 50 / 100


def test_an_overlap_at_the_threshold_stays_and_one_above_it_falls() -> None:
    boxes, scores = torch.tensor([SQUARE, SHIFTED]), torch.tensor([0.9, 0.8])
    labels = torch.zeros(2, dtype=torch.int64)

    assert suppress(boxes, scores, labels, iou_threshold=0.5, max_kept=9).tolist() == [0, 1]
    assert suppress(boxes, scores, labels, iou_threshold=0.49, max_kept=9).tolist() == [0]


def test_boxes_of_two_classes_do_not_meet() -> None:
    boxes, scores = torch.tensor([SQUARE, SQUARE]), torch.tensor([0.8, 0.9])

    kept = suppress(boxes, scores, torch.tensor([3, 4]), iou_threshold=0.1, max_kept=9)

    assert kept.tolist() == [1, 0]


def test_a_fallen_box_does_not_suppress() -> None:
    lefts = torch.tensor([0.0, 4.0, 8.0])  # width 10: neighbours overlap 6/14, ends 2/18
    boxes = torch.stack((lefts, lefts * 0, lefts + 10, lefts * 0 + 10), dim=1)
    scores = torch.tensor([0.9, 0.8, 0.7])

    kept = suppress(boxes, scores, torch.zeros(3).long(), iou_threshold=0.3, max_kept=9)

    assert kept.tolist() == [0, 2]


def test_scores_at_the_threshold_do_not_count_and_a_point_may_have_two_classes() -> None:
    scores = torch.tensor([[[0.5, 0.6, 0.7]]])
    boxes = torch.tensor([[SQUARE]])

    ((found, found_scores, labels),) = postprocess(
        scores, boxes, score_threshold=0.5, iou_threshold=0.5
    )

    assert found.tolist() == [SQUARE, SQUARE]
    assert labels.tolist() == [2, 1]
    torch.testing.assert_close(found_scores, torch.tensor([0.7, 0.6]))


def test_an_image_without_candidates_has_empty_detections() -> None:
    ((boxes, scores, labels),) = postprocess(
        torch.zeros(1, 3, 2), torch.zeros(1, 3, 4), score_threshold=0.1, iou_threshold=0.5
    )

    assert boxes.shape == (0, 4)
    assert scores.shape == labels.shape == (0,)
    assert labels.dtype is torch.int64


def test_only_the_best_are_kept() -> None:
    lefts = torch.arange(30.0) * 100
    boxes = torch.stack((lefts, lefts * 0, lefts + 10, lefts * 0 + 10), dim=1)
    scores = torch.arange(30.0) / 30

    ((_, found, _),) = postprocess(
        scores.view(1, 30, 1),
        boxes.view(1, 30, 4),
        score_threshold=0.0,
        iou_threshold=0.5,
        max_detections=3,
    )

    torch.testing.assert_close(found, torch.tensor([29 / 30, 28 / 30, 27 / 30]))


@pytest.mark.parametrize("num_classes", [1, 2, 7, 80, 701])
@pytest.mark.parametrize("num_candidates", [1, 50, 2000])
def test_suppression_equals_the_plain_way(num_candidates: int, num_classes: int) -> None:
    boxes, scores, labels = crowd(num_candidates, num_classes, seed=num_classes)

    kept = suppress(boxes, scores, labels, iou_threshold=0.6, max_kept=10_000)

    assert torch.equal(kept, suppress_by_class(boxes, scores, labels, 0.6))
    assert 2 * CHUNK > 2000 > CHUNK  # the largest case spans two chunks


@pytest.mark.parametrize("max_kept", [500, 6000])  # the best few chunks suffice, and do not
@pytest.mark.parametrize("num_levels", [2, 1000])  # with few levels of score most are equal
def test_many_candidates_are_judged_as_if_all_were_sorted(max_kept: int, num_levels: int) -> None:
    boxes, scores, labels = crowd(10_000, 300, seed=1)
    scores = (scores * num_levels).floor() / num_levels

    kept = suppress(boxes, scores, labels, iou_threshold=0.6, max_kept=max_kept)

    everything = suppress_by_class(boxes, scores, labels, 0.6)
    assert len(everything) > 6000
    assert torch.equal(kept, _in_order(everything, scores)[:max_kept])


def test_equal_scores_keep_their_order() -> None:
    boxes = torch.tensor([SQUARE, SQUARE, SQUARE])

    kept = suppress(
        boxes, torch.full((3,), 0.5), torch.zeros(3).long(), iou_threshold=0.5, max_kept=9
    )

    assert kept.tolist() == [0]


def _in_order(found: Tensor, scores: Tensor) -> Tensor:
    """Sort by score, then by index: the plain way leaves equal scores in order of class."""
    found = found.sort().values
    return found[scores[found].argsort(descending=True, stable=True)]
