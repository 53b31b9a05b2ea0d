"""Channel-wise distillation against losses and gradients of the published code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from damo_yolo.distillation.channel_wise import ChannelWiseDistillation

STUDENT, TEACHER = (8, 16, 32), (12, 16, 24)


def _golden_features(golden: Any) -> tuple[list[Tensor], list[Tensor]]:
    students = [torch.from_numpy(golden[f"student{i}"]).requires_grad_() for i in range(3)]
    return students, [torch.from_numpy(golden[f"teacher{i}"]) for i in range(3)]


def test_golden_loss_and_gradients(golden_dir: Path, fill_model: Callable[..., None]) -> None:
    golden = np.load(golden_dir / "distill.npz")
    distillation = ChannelWiseDistillation(STUDENT, TEACHER)
    fill_model(distillation)
    students, teachers = _golden_features(golden)

    loss = distillation(students, teachers)
    torch.autograd.backward(loss)

    assert sorted(distillation.state_dict()) == sorted(golden["state_keys"].tolist())
    assert loss.item() == pytest.approx(golden["loss"].item(), rel=1e-6)
    for level, student in enumerate(students):
        expected = torch.from_numpy(golden[f"grad_student{level}"])
        torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-8)
    for name, parameter in distillation.named_parameters():
        expected = torch.from_numpy(golden[f"grad_{name}"])
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-7)
