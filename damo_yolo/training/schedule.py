"""Learning rate and phase as functions of the step (facts: damo_yolo.md, section 8).

A step is one optimiser update, counted from 0 over the whole run.
"""

import math
from dataclasses import dataclass
from typing import Literal

from damo_yolo.errors import TrainingError
from damo_yolo.training.config import ScheduleConfig

Phase = Literal["mosaic", "plain"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """How many steps a run has, and where its parts begin."""

    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    plain_steps: int
    """Steps of the plain phase, at the end."""
    mosaic: bool = True
    """False: no epoch has mosaic."""

    @property
    def epochs(self) -> int:
        """Epochs begun; the last one may be cut short by `max_steps`."""
        return -(-self.total_steps // self.steps_per_epoch)

    def phase(self, epoch: int) -> Phase:
        """Return the phase of an epoch; phases change only between epochs."""
        first_plain_step = self.total_steps - self.plain_steps
        is_early = epoch * self.steps_per_epoch < first_plain_step
        return "mosaic" if self.mosaic and is_early else "plain"


def plan_timeline(config: ScheduleConfig, steps_per_epoch: int) -> Timeline:
    """Lay out a run over epochs of `steps_per_epoch` steps.

    Raises:
        TrainingError: there is no step to train.
    """
    if steps_per_epoch < 1:
        raise TrainingError(
            "an epoch has no step", fix="merge and shard a dataset that holds training images"
        )
    total = config.max_steps or config.epochs * steps_per_epoch
    epochs = -(-total // steps_per_epoch)
    mosaic_epochs = max(0, epochs - config.plain_epochs)
    return Timeline(
        steps_per_epoch=steps_per_epoch,
        total_steps=total,
        warmup_steps=round(total * config.warmup_fraction),
        plain_steps=max(0, total - mosaic_epochs * steps_per_epoch),
        mosaic=config.mosaic,
    )


def learning_rate(step: int, timeline: Timeline, *, base: float, min_ratio: float) -> float:
    """Return the rate of one step: quadratic warm-up, cosine, then flat in the plain phase.

    Args:
        step: 0-based; the very first step of a warm-up has rate 0, as published.
        timeline: the run.
        base: highest rate, `lr_per_image` times the global batch.
        min_ratio: final rate as a share of `base`.
    """
    warmup = timeline.warmup_steps
    decay_end = timeline.total_steps - timeline.plain_steps
    if step < warmup:
        return base * (step / warmup) ** 2
    final = min_ratio * base
    if step >= decay_end:
        return final
    progress = (step - warmup) / (decay_end - warmup)
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * progress))


def average_decay(step: int, *, decay: float, tau: float) -> float:
    """Return how much of the averaged weights is kept at a step: 0 at first, `decay` at last."""
    return decay * (1 - math.exp(-step / tau))
