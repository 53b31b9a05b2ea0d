"""The loss of a whole training step, its gradients and two updates, against the published code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from damo_yolo.losses.detection import DetectionLoss, LossParts
from damo_yolo.models.detector import Detector, DetectorOutput
from damo_yolo.models.zoo import build_detector

# Tolerance of gradient norms and of losses after two updates (README of the golden data): the
# ReLU kinks of T make its gradients noisy.
TOLERANCES = {"T": (2e-2, 1e-3), "Ns": (1e-3, 1e-4)}


class Step:
    """A golden step: the detector before it, and its batch."""

    def __init__(self, size: str, golden: Any, fill_model: Callable[..., None]) -> None:
        self.size = size
        self.golden = golden
        self.detector: Detector = build_detector(f"damo-yolo-{size}")
        fill_model(self.detector)
        self.detector.train()
        self.images = torch.from_numpy(golden["images"]).float() / 64 - 2
        self.objects = _pad(golden, len(self.images))

    def loss(self) -> tuple[DetectorOutput, LossParts]:
        output = self.detector(self.images)
        return output, DetectionLoss()(output, *self.objects)

    def optimizer(self) -> torch.optim.Optimizer:
        plain = set(self.golden["opt.no_decay_keys"].tolist())
        decay = {"T": 5e-4, "Ns": 1e-2}[self.size]
        groups = [
            {"params": [value], "weight_decay": 0.0 if name in plain else decay}
            for name, value in self.detector.named_parameters()
        ]
        rate = float(self.golden["opt.lr"])
        if self.size == "T":
            return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
        return torch.optim.AdamW(groups, lr=rate)


@pytest.fixture(params=sorted(TOLERANCES))
def step(request: pytest.FixtureRequest, golden_dir: Path, fill_model: Callable[..., None]) -> Step:
    size: str = request.param
    return Step(size, np.load(golden_dir / f"train_step_{size}.npz"), fill_model)


def _pad(golden: Any, num_images: int) -> tuple[Tensor, Tensor, Tensor]:
    counts = [len(golden[f"gt_labels{image}"]) for image in range(num_images)]
    boxes = torch.zeros(num_images, max(counts), 4)
    labels = torch.zeros(num_images, max(counts), dtype=torch.long)
    for image, count in enumerate(counts):
        boxes[image, :count] = torch.from_numpy(golden[f"gt_boxes{image}"])
        labels[image, :count] = torch.from_numpy(golden[f"gt_labels{image}"])
    return boxes, labels, torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)


def test_losses_and_gradients_of_a_step(step: Step) -> None:
    golden = step.golden
    output, parts = step.loss()
    torch.autograd.backward(parts.total)

    names = ("total_loss", "loss_cls", "loss_bbox", "loss_dfl")
    expected = [golden[f"loss.{name}"].item() for name in names]
    assert [part.item() for part in parts[:4]] == pytest.approx(expected, rel=3e-5)
    assert parts.num_foreground.item() == golden["target.num_pos"]
    assert output.boxes.sum().item() == pytest.approx(golden["decoded_boxes_sum"].item(), rel=1e-5)
    published = dict(zip(golden["grad.names"].tolist(), golden["grad.norms"].tolist(), strict=True))
    modules = {"total": step.detector} | {
        name: step.detector.get_submodule(name) for name in published if name != "total"
    }
    norms = {
        name: _norm([value.grad for value in module.parameters()])
        for name, module in modules.items()
    }
    assert norms == pytest.approx(published, rel=TOLERANCES[step.size][0])


def test_losses_after_two_updates(step: Step) -> None:
    optimizer = step.optimizer()
    totals = []
    for _ in range(2):
        _, parts = step.loss()
        totals.append(parts.total.item())
        optimizer.zero_grad()
        torch.autograd.backward(parts.total)
        optimizer.step()
    totals.append(step.loss()[1].total.item())

    expected = step.golden["opt.total_losses"].tolist()
    assert totals == pytest.approx(expected, rel=TOLERANCES[step.size][1])


def _norm(gradients: list[Tensor | None]) -> float:
    squares = [(g.double() ** 2).sum().item() for g in gradients if g is not None]
    return float(sum(squares) ** 0.5)
