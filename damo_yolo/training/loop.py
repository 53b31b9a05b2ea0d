"""The training loop. It knows steps, epochs and a reporter; nothing of Ray, files or trackers."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from damo_yolo.distillation.weight import distillation_weight
from damo_yolo.errors import TrainingError
from damo_yolo.models.detector import Detector
from damo_yolo.samples import Batch
from damo_yolo.training import step as steps
from damo_yolo.training.optim import set_learning_rate
from damo_yolo.training.ranks import gather_objects, is_parallel, mean_over_ranks
from damo_yolo.training.schedule import (
    Phase,
    Timeline,
    average_decay,
    learning_rate,
    plan_timeline,
)
from damo_yolo.training.state import Meter, TrainState

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Record = dict[str, Any]
"""One line of metrics: `kind` ("step" or "epoch"), `step` (updates done), numbers by name."""


class Reporter(Protocol):
    """Where a loop tells of its progress. Every rank calls every method at the same steps."""

    def log(self, record: Record) -> None:
        """Take a line of metrics; equal on all ranks except for times."""

    def checkpoint(self, state: TrainState) -> None:
        """Keep the state."""

    def end_epoch(self, record: Record) -> None:
        """Take the line of a finished epoch, after its checkpoint."""

    def save_failure(self, payload: dict[str, Any], *, step: int) -> str:
        """Keep what reproduces a failed step, and return where it is."""


class Loader(Protocol):
    """Batches of one rank."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, equal on all ranks."""

    def epoch(self, epoch: int, *, phase: Phase, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `start_step` on."""


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same over a run."""

    state: TrainState
    model: nn.Module
    """The state's model, wrapped when several ranks train."""
    teacher: Detector | None
    timeline: Timeline
    reporter: Reporter
    device: torch.device


def train(
    state: TrainState, loader: Loader, reporter: Reporter, *, teacher: Detector | None = None
) -> None:
    """Train from the state's position to the last step of its configuration.

    Args:
        state: on its device; moved on in place.
        loader: batches of this rank.
        reporter: where progress goes.
        teacher: frozen detector in evaluation mode, for a configuration that distils.

    Raises:
        TrainingError: a loss or gradient is not finite.
    """
    timeline = plan_timeline(state.config.schedule, loader.steps_per_epoch)
    device = next(state.model.parameters()).device
    state.model.train()
    run = Run(state, _wrap(state.model, device), teacher, timeline, reporter, device)
    for epoch in range(state.position.epoch, timeline.epochs):
        train_one_epoch(run, loader, epoch)


def train_one_epoch(run: Run, loader: Loader, epoch: int) -> None:
    """Train what is left of an epoch, log and checkpoint on the way."""
    state, timeline, config = run.state, run.timeline, run.state.config
    start = state.position.step_in_epoch
    end = min(timeline.steps_per_epoch, timeline.total_steps - epoch * timeline.steps_per_epoch)
    batches = loader.epoch(epoch, phase=timeline.phase(epoch), start_step=start)
    began = time.perf_counter()
    for batch in islice(batches, end - start):
        losses, extra = train_step(run, batch)
        state.window.add(losses)
        state.epoch_window.add(losses)
        state.position = state.position.after_step(timeline.steps_per_epoch)
        now = time.perf_counter()
        state.seconds, began = state.seconds + now - began, now
        done = state.position.step
        if done % config.log_every == 0 or done == timeline.total_steps:
            run.reporter.log(_record("step", run, state.window, epoch) | extra)
            state.window = Meter()
        if config.checkpoint_every and done % config.checkpoint_every == 0:
            run.reporter.checkpoint(state)
    record = _record("epoch", run, state.epoch_window, epoch)
    state.epoch_window = Meter()
    run.reporter.checkpoint(state)
    run.reporter.end_epoch(record)


def train_step(run: Run, batch: Batch) -> tuple[steps.StepLosses, dict[str, float]]:
    """Take one optimisation step; return its losses, its rate and the gradient's length."""
    state, config = run.state, run.state.config
    step = state.position.step
    rate = learning_rate(
        step,
        run.timeline,
        base=config.optimizer.lr_per_image * config.global_batch,
        min_ratio=config.schedule.min_lr_ratio,
    )
    set_learning_rate(state.optimizer, rate)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    local = steps.to_device(batch, run.device, layout=layout)
    losses = steps.backward(
        run.model,
        steps.split(local, config.accumulation),
        teacher=run.teacher,
        distill_weight=_distill_weight(run, step),
        precision=PRECISIONS[config.precision],
    )
    gradients = _gradients(state.model.detector)
    norm = nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm):
        _fail(run, batch, losses, norm)
    if config.optimizer.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(
            state.model.detector.parameters(), config.optimizer.clip_norm, norm
        )
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    keep = average_decay(step, decay=config.ema.decay, tau=config.ema.tau)
    state.average.update(state.model.detector, keep=keep)
    return losses, {"lr": rate, "grad_norm": float(norm)}


def _distill_weight(run: Run, step: int) -> float:
    distill = run.state.config.distill
    if distill is None:
        return 0.0
    return distillation_weight(
        step,
        total_steps=run.timeline.total_steps,
        plain_steps=run.timeline.plain_steps if distill.until_plain_phase else 0,
        start=distill.weight,
        end_ratio=distill.end_ratio,
    )


def _record(kind: str, run: Run, meter: Meter, epoch: int) -> Record:
    means = mean_over_ranks(meter.mean()).tolist()
    state = run.state
    images = state.position.step * state.config.global_batch
    return {
        "kind": kind,
        "step": state.position.step,
        "total_steps": run.timeline.total_steps,
        "epoch": epoch + 1
        if kind == "epoch"
        else state.position.step / run.timeline.steps_per_epoch,
        **dict(zip(steps.StepLosses._fields, means, strict=True)),
        "seconds": round(state.seconds, 3),
        "images_per_s": round(images / max(state.seconds, 1e-9), 2),
        "time": round(time.time(), 3),
    }


def _gradients(model: nn.Module) -> Sequence[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def _fail(run: Run, batch: Batch, losses: steps.StepLosses, norm: Tensor) -> None:
    """Raise on every rank alike: averaged gradients are not finite on any of them."""
    step = run.state.position.step
    is_finite = bool(torch.isfinite(losses.total))
    where = gather_objects(is_finite)
    is_suspect = not is_finite or all(where)  # a finite loss with an infinite gradient: all are
    payload = {
        "step": step,
        "keys": batch.keys,
        "losses": {name: float(value) for name, value in losses._asdict().items()},
        "gradient_norm": float(norm),
        "config": run.state.config.model_dump(mode="json"),
        "model": run.state.model.state_dict(),
        "batch": steps.split(batch, 1)[0],
    }
    saved = run.reporter.save_failure(payload, step=step) if is_suspect else ""
    found = [item for item in gather_objects((batch.keys, saved)) if item[1]]
    keys = ", ".join(key for names, _ in found for key in names)
    files = ", ".join(uri for _, uri in found)
    raise TrainingError(
        f"the loss of step {step} is not finite, with the images {keys}",
        fix=f"look at these images, or lower optimizer.lr_per_image; the step is kept in {files}",
    )


def _wrap(model: nn.Module, device: torch.device) -> nn.Module:
    if not is_parallel():
        return model
    devices = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
    )
