"""Channel-wise distillation: what it ignores, what it refuses, what it promises trainers."""

import pytest
import torch

from damo_yolo.distillation.channel_wise import ChannelWiseDistillation
from damo_yolo.errors import ConfigError, DamoYoloError


def test_a_student_that_equals_its_teacher_but_for_scale_and_offset_loses_nothing() -> None:
    distillation = ChannelWiseDistillation((2,), (2,))
    torch.nn.init.eye_(distillation.align_module[0].weight[:, :, 0, 0])  # type: ignore[index]
    teacher = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0))

    loss = distillation([teacher * 7 + 3], [teacher])

    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_a_level_of_one_cell_and_one_image_costs_nothing_and_stays_finite() -> None:
    distillation = ChannelWiseDistillation((2,), (3,))
    student = torch.ones(1, 2, 1, 1, requires_grad=True)

    loss = distillation([student], [torch.ones(1, 3, 1, 1)])
    torch.autograd.backward(loss)

    assert loss.item() == 0.0
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_bfloat16_autocast_keeps_the_divergence_in_float32() -> None:
    generator = torch.Generator().manual_seed(1)
    distillation = ChannelWiseDistillation((8,), (8,))
    student = torch.randn(2, 8, 12, 12, generator=generator) * 50
    teacher = torch.randn(2, 8, 12, 12, generator=generator) * 50
    exact = distillation([student], [teacher])

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = distillation([student.bfloat16()], [teacher.bfloat16()])

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)


def test_features_of_other_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 feature levels, the teacher 2"):
        ChannelWiseDistillation((1, 2, 3), (1, 2))
    with pytest.raises(DamoYoloError, match="sizes differ"):
        ChannelWiseDistillation((1,), (1,))([torch.zeros(1, 1, 4, 4)], [torch.zeros(1, 1, 2, 2)])
