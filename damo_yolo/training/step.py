"""One optimisation step, with or without a teacher.

Shapes: B images of this rank, H, W pixels, G objects padded over the batch, C classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from damo_yolo.distillation.channel_wise import ChannelWiseDistillation
from damo_yolo.losses.detection import DetectionLoss, foreground_divisors
from damo_yolo.models.detector import Detector
from damo_yolo.samples import Batch


class StepLosses(NamedTuple):
    """Scalars of one step; `total` is what is minimised."""

    total: Tensor
    qfl: Tensor
    giou: Tensor
    dfl: Tensor
    distill: Tensor
    """Channel-wise loss before its weight; 0 without a teacher."""
    num_foreground: Tensor
    """Anchor points matched to an object, over the images of this rank."""


class TrainedModel(nn.Module):
    """A detector, its losses and its align modules as one module.

    One module, so that data-parallel training averages the gradients of the align modules too.
    """

    def __init__(
        self,
        detector: Detector,
        loss: DetectionLoss,
        distillation: ChannelWiseDistillation | None = None,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.loss = loss
        self.distillation = distillation
        self.is_aligning = False
        """True: the align modules learn from the teacher, the detector does not."""

    def forward(
        self,
        batch: Sequence[Tensor | None],
        teacher_features: Sequence[Tensor] | None,
        distill_weight: float,
        precision: torch.dtype,
        divisors: Tensor | None = None,
    ) -> StepLosses:
        """Compute the losses of one batch.

        Args:
            batch: images (B, 3, H, W) float 0..255, boxes (B, G, 4), labels (B, G), valid (B, G),
                class mask (B, C) or None.
            teacher_features: the teacher's neck outputs; None leaves the teacher out.
            distill_weight: factor of the channel-wise loss.
            precision: of the detector; the losses are fp32 whatever it is.
            divisors: (2,) of the whole that the batch is a part of; None: it is the whole.
        """
        images, boxes, labels, valid, class_mask = batch
        assert images is not None
        with autocast(images.device, precision):
            output = self.detector(images)
        parts = self.loss(output, boxes, labels, valid, class_mask, divisors)
        distill = self._distill(output.features, teacher_features)
        return StepLosses(
            total=parts.total + distill_weight * distill,
            qfl=parts.qfl.detach(),
            giou=parts.giou.detach(),
            dfl=parts.dfl.detach(),
            distill=distill.detach(),
            num_foreground=torch.as_tensor(parts.num_foreground, dtype=torch.float32),
        )

    @torch.no_grad()
    def count_foreground(self, batch: Sequence[Tensor | None], precision: torch.dtype) -> Tensor:
        """Return (2,) number and summed score of the foreground of a part of a batch.

        Running statistics of normalisation stay as they are. Processes normalise over each other's
        images here as in a step, so all of them call.
        """
        images, boxes, labels, valid, class_mask = batch
        assert images is not None
        with autocast(images.device, precision), frozen_statistics(self.detector):
            output = self.detector(images)
            found = self.loss(output, boxes, labels, valid, class_mask, images.new_ones(2))
        return torch.stack((found.num_foreground, found.foreground_score))

    def _distill(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> Tensor:
        if self.distillation is None:
            return student[0].new_zeros((), dtype=torch.float32)
        if teacher is None:  # every parameter must see a gradient, or data-parallel training waits
            return sum(
                (parameter.sum() * 0.0 for parameter in self.distillation.parameters()),
                start=student[0].new_zeros((), dtype=torch.float32),
            )
        levels = [level.detach() if self.is_aligning else level for level in student]
        loss: Tensor = self.distillation([level.float() for level in levels], teacher)
        return loss


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Let a forward pass in training mode leave the running statistics alone."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast | nullcontext[None]:
    """Return the context in which convolutions run at `precision`."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


def to_device(batch: Batch, device: torch.device, *, layout: torch.memory_format) -> Batch:
    """Return the batch on the device, its images as float 0..255 in the memory layout."""
    moved = {
        field.name: getattr(batch, field.name).to(device, non_blocking=True)
        for field in fields(batch)
        if isinstance(getattr(batch, field.name), Tensor)
    }
    images = moved.pop("images").to(torch.float32).contiguous(memory_format=layout)
    return replace(batch, images=images, **moved)


def split(batch: Batch, parts: int) -> list[tuple[Tensor | None, ...]]:
    """Cut the tensors of a batch into equal parts, in the order `TrainedModel` takes them.

    Args:
        batch: on its device.
        parts: divides B.
    """
    columns = (batch.images, batch.gt_boxes, batch.gt_labels, batch.gt_valid, batch.class_mask)
    chunks = [[None] * parts if column is None else list(column.chunk(parts)) for column in columns]
    return list(zip(*chunks, strict=True))


def backward(
    model: nn.Module,
    parts: Sequence[tuple[Tensor | None, ...]],
    *,
    teacher: Detector | None,
    distill_weight: float,
    precision: torch.dtype,
) -> StepLosses:
    """Add the gradients of all parts of a batch, and return the losses of the whole.

    What divides the losses is the foreground of the whole batch, so that parts add up to it. Its
    parts must be looked at before the first one is differentiated: a forward pass more for each.

    Args:
        model: `TrainedModel`, possibly wrapped for data-parallel training.
        parts: of one batch; gradients are exchanged after the last one only.
        teacher: frozen detector in evaluation mode; None or a weight of 0 leaves it out.
        distill_weight: factor of the channel-wise loss.
        precision: of the convolutions.
    """
    divisors = _divisors(model, parts, precision) if len(parts) > 1 else None
    collected: list[StepLosses] = []
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        waits = getattr(model, "no_sync", None)
        with waits() if waits and not is_last else nullcontext():
            features = look(teacher, part[0], precision) if distill_weight else None
            losses: StepLosses = model(part, features, distill_weight, precision, divisors)
            # A loss that is not finite makes every gradient so, and averaging tells all ranks.
            seed = losses.total.detach() * 0 + 1 / len(parts)
            torch.autograd.backward(losses.total, seed)
        collected.append(losses)
    means = [torch.stack(values).mean().detach() for values in zip(*collected, strict=True)]
    whole = StepLosses(*means)
    return whole._replace(num_foreground=whole.num_foreground * len(parts))


def _divisors(
    model: nn.Module, parts: Sequence[tuple[Tensor | None, ...]], precision: torch.dtype
) -> Tensor:
    bare = getattr(model, "module", model)  # of the data-parallel wrapper
    assert isinstance(bare, TrainedModel)
    counts = [bare.count_foreground(part, precision) for part in parts]
    return foreground_divisors(torch.stack(counts).sum(dim=0), num_parts=len(parts))


@torch.no_grad()
def look(
    teacher: Detector | None, images: Tensor | None, precision: torch.dtype
) -> tuple[Tensor, ...] | None:
    """Return the teacher's neck outputs for the images; None without a teacher."""
    if teacher is None or images is None:
        return None
    with autocast(images.device, precision):
        return tuple(teacher.features(images))
