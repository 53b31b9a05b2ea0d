"""Make features of student and teacher comparable: one width, one scale.

Shapes: B images, H, W cells of a level.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from damo_yolo.errors import ConfigError

_EPSILON = 1e-5  # of the published batch norm


def align_modules(
    student_channels: Sequence[int], teacher_channels: Sequence[int]
) -> nn.ModuleList:
    """Return one trainable 1x1 convolution a level, from the student's width to the teacher's.

    Raises:
        ConfigError: student and teacher do not have equally many levels.
    """
    if len(student_channels) != len(teacher_channels):
        raise ConfigError(
            f"the student has {len(student_channels)} feature levels, "
            f"the teacher {len(teacher_channels)}",
            fix="use a teacher whose neck has as many levels as the student's",
        )
    pairs = zip(student_channels, teacher_channels, strict=True)
    return nn.ModuleList(nn.Conv2d(student, teacher, kernel_size=1) for student, teacher in pairs)


def standardise(features: Tensor) -> Tensor:
    """Give each channel of (B, channels, H, W) mean 0 and variance 1 over batch and space.

    The published code lets student and teacher pass one batch norm that never leaves training mode
    and has no parameters: always the statistics of this very batch, nothing to store.
    """
    variance, mean = torch.var_mean(features, dim=(0, 2, 3), correction=0, keepdim=True)
    return (features - mean) * (variance + _EPSILON).rsqrt()
