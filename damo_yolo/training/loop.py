"""The training loop. It knows steps, epochs and a reporter; nothing of Ray, files or trackers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from damo_yolo.distillation.weight import distillation_weight
from damo_yolo.models.detector import Detector
from damo_yolo.samples import Batch
from damo_yolo.training import step as steps
from damo_yolo.training.device import choose_precision, memory_mib
from damo_yolo.training.failure import failure_payload, raise_not_finite
from damo_yolo.training.memory import num_parts_of_step
from damo_yolo.training.optim import set_learning_rate
from damo_yolo.training.ranks import (
    DEFAULT_TIMEOUT_S,
    Meeting,
    data_parallel,
    mean_over_ranks,
    num_ranks,
)
from damo_yolo.training.reporter import FINISH, GO_ON, PAUSE, Loader, PausedError, Record, Reporter
from damo_yolo.training.schedule import (
    Timeline,
    average_decay,
    learning_rate,
    plan_timeline,
)
from damo_yolo.training.state import Meter, TrainState
from damo_yolo.training.validation import Validator


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
    precision: torch.dtype
    num_parts: int
    """Parts that this rank computes its images of a step in."""
    meeting: Meeting
    validator: Validator | None


def train(
    state: TrainState,
    loader: Loader,
    reporter: Reporter,
    *,
    teacher: Detector | None = None,
    validator: Validator | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> None:
    """Train from the state's position to the last step of its configuration.

    Args:
        state: on its device; moved on in place.
        loader: batches of this rank.
        reporter: where progress goes.
        teacher: frozen detector in evaluation mode, for a configuration that distils.
        validator: evaluates on the way, for a configuration that validates.
        timeout_s: how long ranks wait for each other.

    Raises:
        TrainingError: a loss or gradient is not finite, or too many images are broken.
        PausedError: the reporter wished so; the state is saved.
        LostRankError: a rank hangs.
    """
    run = prepare(
        state, loader, reporter, teacher=teacher, validator=validator, timeout_s=timeout_s
    )
    try:
        for epoch in range(state.position.epoch, run.timeline.epochs):
            if state.is_over or train_one_epoch(run, loader, epoch):
                return
    except RuntimeError as error:
        run.meeting.explain(error)
        raise
    finally:
        run.meeting.close()


def prepare(
    state: TrainState,
    loader: Loader,
    reporter: Reporter,
    *,
    teacher: Detector | None = None,
    validator: Validator | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Run:
    """Return the run that `train` walks through; a collective."""
    config = state.config
    device = next(state.model.parameters()).device
    precision = choose_precision(config, device)
    state.model.train()
    num_parts = num_parts_of_step(state.model, config, teacher=teacher, precision=precision)
    if config.compile:
        state.model.detector.compile()
    return Run(
        state=state,
        model=data_parallel(state.model, device),
        teacher=teacher,
        timeline=plan_timeline(config.schedule, loader.steps_per_epoch),
        reporter=reporter,
        device=device,
        precision=precision,
        num_parts=num_parts,
        meeting=Meeting(timeout_s),
        validator=validator,
    )


def train_one_epoch(run: Run, loader: Loader, epoch: int) -> bool:
    """Train what is left of an epoch, log and checkpoint on the way; tell whether to end here."""
    state, timeline, config = run.state, run.timeline, run.state.config
    start = state.position.step_in_epoch
    end = min(timeline.steps_per_epoch, timeline.total_steps - epoch * timeline.steps_per_epoch)
    batches = loader.epoch(epoch, phase=timeline.phase(epoch), start_step=start)
    began = time.perf_counter()
    wish = GO_ON
    extra: dict[str, float] = {}
    for batch in islice(batches, end - start):
        wish = run.meeting.agree(run.reporter.wish())
        if wish != GO_ON:
            break
        state.quarantine.take(batch.broken)
        losses, extra = train_step(run, batch)
        state.window.add(losses)
        state.epoch_window.add(losses)
        state.samples.add(state.position.step, batch.keys)
        state.position = state.position.after_step(timeline.steps_per_epoch)
        now = time.perf_counter()
        state.seconds, began = state.seconds + now - began, now
        done = state.position.step
        if done % config.log_every == 0 or done == timeline.total_steps:
            run.reporter.log(_record("step", run, state.window, epoch) | extra)
            state.window = Meter()
        if config.checkpoint_every and done % config.checkpoint_every == 0:
            run.reporter.checkpoint(state)
    if wish == PAUSE:
        _pause(run)
    return _end_epoch(run, epoch, extra, is_last=wish == FINISH)


def _end_epoch(run: Run, epoch: int, extra: dict[str, float], *, is_last: bool) -> bool:
    state, timeline = run.state, run.timeline
    is_last = is_last or epoch + 1 == timeline.epochs
    state.samples.merge()
    state.quarantine.merge(state.config.max_broken_share)
    record = _record("epoch", run, state.epoch_window, epoch) | extra
    record |= {"memory_mib": round(memory_mib(run.device), 1), "left_s": _left_s(run)}
    broken = sorted(state.quarantine.keys)
    record |= {"samples": state.samples.text, "broken": len(broken), "broken_images": broken}
    record |= {"workers": num_ranks()}
    record |= _validate(run, epoch, is_last=is_last)
    state.epoch_window = Meter()
    state.is_over = is_last or state.is_over
    run.reporter.checkpoint(state)
    run.reporter.end_epoch(record)
    return state.is_over


def _validate(run: Run, epoch: int, *, is_last: bool) -> dict[str, float]:
    config = run.state.config.validation
    if run.validator is None or config is None:
        return {}
    if (epoch + 1) % config.every_epochs and not is_last:
        return {}
    state = run.state
    weights = state.average.state_dict()
    figures = run.validator.evaluate(weights)
    best = state.best
    better = best.is_better(figures["ap"], config)
    best.take(figures["ap"], step=state.position.step, weights=weights, better=better)
    state.is_over = best.is_over(config)
    return figures


def _pause(run: Run) -> None:
    run.reporter.checkpoint(run.state)
    raise PausedError(
        f"training was asked to stop and did so after step {run.state.position.step}",
        fix="run the same command again: it continues from there",
    )


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
    state.model.is_aligning = _is_aligning(run, step)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    local = steps.to_device(batch, run.device, layout=layout)
    losses = steps.backward(
        run.model,
        steps.split(local, run.num_parts),
        teacher=run.teacher,
        distill_weight=_distill_weight(run, step),
        precision=run.precision,
    )
    gradients = _gradients(state.model.detector)
    norm = nn.utils.get_total_norm(gradients)
    if not torch.isfinite(norm):
        _fail(run, batch, losses)
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
    total = run.timeline.total_steps
    plain_steps = run.timeline.plain_steps if distill.until_plain_phase else 0
    return distillation_weight(
        step,
        total_steps=total,
        untaught_steps=max(plain_steps, round(distill.untaught_fraction * total)),
        start=distill.weight,
        end_ratio=distill.end_ratio,
    )


def _is_aligning(run: Run, step: int) -> bool:
    distill = run.state.config.distill
    return distill is not None and step < distill.align_fraction * run.timeline.total_steps


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


def _left_s(run: Run) -> float:
    """Return the seconds the rest of the run will take at the speed so far."""
    done, state = run.state.position.step, run.state
    return round(state.seconds / max(done, 1) * (run.timeline.total_steps - done), 1)


def _gradients(model: nn.Module) -> Sequence[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def _fail(run: Run, batch: Batch, losses: steps.StepLosses) -> None:
    state, step = run.state, run.state.position.step

    def save() -> str:
        config = state.config.model_dump(mode="json")
        payload = failure_payload(state.model, batch, losses, step=step, config=config)
        return run.reporter.save_failure(payload, step=step)

    is_finite = bool(torch.isfinite(losses.total))
    raise_not_finite(step, batch.keys, is_finite=is_finite, save=save)
