"""Channel-wise distillation: each channel should look where the teacher's looks.

Shapes: B images, H, W cells of a level.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from damo_yolo.distillation.align import align_modules, standardise
from damo_yolo.errors import DamoYoloError


class ChannelWiseDistillation(nn.Module):
    """Divergence between the places that a teacher's and a student's channels attend to.

    The align modules are parameters of this module: train it as a part of the model that
    data-parallel training wraps, optimise and checkpoint it with the student.
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int]) -> None:
        """Build the align modules, with initial weights from torch's global generator.

        Args:
            student_channels: width of each of the student's neck outputs.
            teacher_channels: width of each of the teacher's.

        Raises:
            ConfigError: student and teacher do not have equally many levels.
        """
        super().__init__()
        self.align_module = align_modules(student_channels, teacher_channels)  # published name

    def forward(
        self, student_features: Sequence[Tensor], teacher_features: Sequence[Tensor]
    ) -> Tensor:
        """Return the () float32 loss, summed over levels; no gradient reaches the teacher.

        Args:
            student_features: neck outputs of the student, (B, channels, H, W) each.
            teacher_features: neck outputs of the teacher at the same strides.

        Raises:
            DamoYoloError: a level of the two does not have the same size.
        """
        levels = zip(self.align_module, student_features, teacher_features, strict=True)
        loss = student_features[0].new_zeros((), dtype=torch.float32)
        for align, student, teacher in levels:
            _check_same_size(student, teacher)
            loss = loss + _divergence(align(student), teacher.detach())
        return loss


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return () the Kullback-Leibler divergence over space, averaged over images and channels."""
    with torch.autocast(student.device.type, enabled=False):
        log_student = functional.log_softmax(standardise(student.float()).flatten(2), dim=-1)
        log_teacher = functional.log_softmax(standardise(teacher.float()).flatten(2), dim=-1)
        total = functional.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return total / (student.shape[0] * student.shape[1])


def _check_same_size(student: Tensor, teacher: Tensor) -> None:
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise DamoYoloError(
            f"a level of the student is {tuple(student.shape)}, of the teacher "
            f"{tuple(teacher.shape)}: images or sizes differ",
            fix="give both detectors the same batch of images",
        )
