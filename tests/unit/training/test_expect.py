"""The loss of step 0 of real detectors against what random weights should give."""

import math

import pytest
import torch

from damo_yolo.losses.detection import DetectionLoss, LossConfig, LossParts
from damo_yolo.models.zoo import build_detector
from damo_yolo.training.expect import ExpectedLoss, deviations, expected_loss

PRIOR, NUM_CLASSES = 0.05, 4


@pytest.fixture(scope="module")
def first() -> tuple[ExpectedLoss, LossParts]:
    torch.manual_seed(0)
    detector = build_detector("damo-yolo-ns", num_classes=NUM_CLASSES, class_prior=PRIOR).train()
    output = detector(torch.rand(2, 3, 64, 64) * 255)
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 40.0]]] * 2)
    labels, valid = torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1, dtype=torch.bool)
    parts = DetectionLoss(LossConfig())(output, boxes, labels, valid)
    expected = expected_loss(
        LossConfig(),
        parts,
        class_prior=PRIOR,
        num_known=torch.tensor([NUM_CLASSES] * 2),
        num_anchors=output.points.shape[0],
        num_bins=output.side_logits.shape[-1],
    )
    return expected, parts


def test_random_weights_lose_what_is_expected(first: tuple[ExpectedLoss, LossParts]) -> None:
    expected, parts = first

    weight = min(float(parts.foreground_score), 1.0)
    assert expected.dfl == pytest.approx(0.25 * math.log(8) * weight), "eight bins, equally likely"
    assert deviations(expected, parts) == []


def test_a_part_that_random_weights_do_not_explain_is_named(
    first: tuple[ExpectedLoss, LossParts],
) -> None:
    expected, parts = first
    wrong = parts._replace(qfl=torch.tensor(5.0), giou=torch.tensor(9.0))

    found = deviations(expected, wrong)

    assert [sentence.split(" ")[0] for sentence in found] == ["qfl", "giou"]


def test_without_objects_only_background_is_expected() -> None:
    zero = torch.tensor(0.0)
    background = -math.log(0.5) * 0.25 * 100
    qfl = torch.tensor(background)
    parts = LossParts(qfl, qfl, zero, zero, zero, zero)
    expected = expected_loss(
        LossConfig(),
        parts,
        class_prior=0.5,
        num_known=torch.tensor([2, 3]),
        num_anchors=20,
        num_bins=8,
    )

    assert expected.min_qfl == pytest.approx(0.75 * background)
    assert expected.max_qfl == pytest.approx(1.25 * background)
    assert (expected.dfl, expected.max_giou) == (0.0, 0.0)
    assert deviations(expected, parts) == []
