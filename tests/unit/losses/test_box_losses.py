"""GIoU and distribution focal loss against golden values and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from damo_yolo.losses.box_iou import giou_loss
from damo_yolo.losses.distribution_focal import distribution_focal_loss

GIOU_WEIGHT, DFL_WEIGHT = 2.0, 0.25


def test_golden_giou_values_and_gradients(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "losses.npz")
    boxes = torch.from_numpy(golden["giou.pred"]).requires_grad_()
    weights = torch.from_numpy(golden["giou.weight"]) / float(golden["giou.avg_factor"])

    losses = giou_loss(boxes, torch.from_numpy(golden["giou.target"])) * GIOU_WEIGHT
    loss = (losses * weights).sum()
    torch.autograd.backward(loss)

    torch.testing.assert_close(losses.detach(), torch.from_numpy(golden["giou.loss_none"]))
    assert loss.item() == pytest.approx(golden["giou.loss_avg"].item(), rel=1e-6)
    expected = torch.from_numpy(golden["giou.grad_avg"])
    torch.testing.assert_close(boxes.grad, expected, rtol=1e-4, atol=1e-7)


def test_golden_distribution_values_and_gradients(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "losses.npz")
    logits = torch.from_numpy(golden["dfl.pred"]).requires_grad_()
    weights = torch.from_numpy(golden["dfl.weight"]) / float(golden["dfl.avg_factor"])
    target = torch.from_numpy(golden["dfl.target"])

    losses = distribution_focal_loss(logits.view(20, 4, 17), target.view(20, 4)).flatten()
    losses = losses * DFL_WEIGHT
    loss = (losses * weights).sum()
    torch.autograd.backward(loss)

    torch.testing.assert_close(losses.detach(), torch.from_numpy(golden["dfl.loss_none"]))
    assert loss.item() == pytest.approx(golden["dfl.loss_avg"].item(), rel=1e-6)
    expected = torch.from_numpy(golden["dfl.grad_avg"])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-4, atol=1e-8)


def test_a_distance_between_two_bins_asks_for_both_by_nearness() -> None:
    certain = torch.tensor([0.0, 0.75, 0.25, 0.0]).log().clamp(min=-50)
    sides = certain.expand(1, 4, 4)

    loss = distribution_focal_loss(sides, torch.tensor([[1.25, 1.0, 2.0, 9.0]]))

    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    beyond = 0.9 * 50 - 0.1 * np.log(0.25)  # clamped to 2.9, a tenth below the last bin
    assert loss[0].tolist() == pytest.approx(
        [entropy, -np.log(0.75), -np.log(0.25), beyond], rel=1e-5
    )
