"""Walk the whole path of a training without training: data, label space, loss, memory, time."""

import time
from itertools import chain, count
from pathlib import Path

import cv2
import torch

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import TrainingError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import TrainLoader
from damo_yolo.loading.preview import draw_batch
from damo_yolo.models.detector import Detector
from damo_yolo.models.zoo import short_name
from damo_yolo.samples import Batch
from damo_yolo.shards.order import default_num_lanes, lanes_of
from damo_yolo.stages.train import describe_job
from damo_yolo.training import step as steps
from damo_yolo.training.build import build_state, load_teacher, start_from
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.device import choose_precision, memory_mib
from damo_yolo.training.expect import deviations, expected_loss
from damo_yolo.training.run import TrainJob, check_split, cpu_settings, loader_config
from damo_yolo.training.schedule import Phase, plan_timeline
from damo_yolo.training.state import TrainState

PICTURE_FILE = "first_batch.png"
MIN_STEPS, MIN_SECONDS = 2, 5.0
"""Steps that are timed, after one that is not."""


class DryRunResult(Config):
    """What a training would do; nothing of it was kept but the picture."""

    model: str
    num_parameters: int
    num_classes: int
    picture_uri: str
    """The first batch as the network sees it, with its boxes."""
    keys: tuple[str, ...]
    """Images of the first batch."""
    num_objects: int
    """In the first batch."""
    steps_per_epoch: int
    total_steps: int
    losses: dict[str, float]
    """At step 0."""
    expected: dict[str, float]
    """What random weights should give; empty when training starts from trained weights."""
    problems: tuple[str, ...]
    """Where the loss is not explained by random weights; empty is good."""
    step_s: float
    """One step of the whole global batch in one process, its data included."""
    data_s: float
    """Of it, waiting for data."""
    hours: float
    """Of the whole training, in one process; validations not counted."""
    memory_mib: float
    """Most that this process held."""
    checkpoint_mib: float


def dry_run(
    *,
    shards_uri: str,
    plan_uri: str,
    out_uri: str,
    config: TrainConfig,
    teacher_uri: str = "",
    init_uri: str = "",
    use_gpu: bool = False,
    num_workers: int = 1,
    loader_processes: int = 0,
) -> DryRunResult:
    """Check a training before it costs anything.

    Args:
        shards_uri: folder that the stage `shard` wrote.
        plan_uri: folder that the stage `balance` wrote.
        out_uri: folder for the picture.
        config: of the training.
        teacher_uri: model folder of the teacher, for a configuration that distils.
        init_uri: weights to start from.
        use_gpu: measure on the GPU.
        num_workers: ranks of the training, which must be able to share a batch; here is one.
        loader_processes: beside each of them.

    Raises:
        TrainingError: shapes or label space are wrong, or the loss is not finite.
        ConfigError: configuration and data do not fit together.
    """
    job = describe_job(
        config,
        shards_uri=shards_uri,
        plan_uri=plan_uri,
        out_uri=out_uri,
        teacher_uri=teacher_uri,
        init_uri=init_uri,
    )
    check_split(config, num_workers)
    num_lanes = config.num_lanes or default_num_lanes(config.global_batch)
    lanes_of(0, num_workers, 0, loader_processes, num_lanes)
    device = torch.device("cuda" if use_gpu else "cpu")
    space = LabelSpace.load(storage.join(job.shards_uri, "label_space.csv"))
    teacher = None
    if config.distill:
        teacher = load_teacher(
            job.teacher_uri, config, label_space_sha256=space.sha256, device=device
        )
    loader = TrainLoader(job.shards_uri, job.plan_uri, loader_config(job), seed=config.seed)
    timeline = plan_timeline(config.schedule, loader.steps_per_epoch)
    state = build_state(config, num_classes=len(space), device=device, teacher=teacher)
    if job.init_uri:
        start_from(state, job.init_uri, space)
    batches = loader.epoch(0, phase=timeline.phase(0))
    first = next(batches)
    _check(first, config, num_classes=len(space))
    picture_uri = _draw(first, space, job)
    with cpu_settings(config):
        losses, expected, problems = _first_loss(state, first, is_fresh=not job.init_uri)
        step_s, data_s = _time(state, loader, timeline.phase(0), teacher=teacher)
    return DryRunResult(
        model=short_name(config.model),
        num_parameters=sum(p.numel() for p in state.model.detector.parameters()),
        num_classes=len(space),
        picture_uri=picture_uri,
        keys=first.keys,
        num_objects=int(first.gt_valid.sum()),
        steps_per_epoch=loader.steps_per_epoch,
        total_steps=timeline.total_steps,
        losses=losses,
        expected=expected,
        problems=problems,
        step_s=round(step_s, 4),
        data_s=round(data_s, 4),
        hours=round(timeline.total_steps * step_s / 3600, 3),
        memory_mib=round(memory_mib(device), 1),
        checkpoint_mib=round(_checkpoint_bytes(state) / 2**20, 1),
    )


def _check(batch: Batch, config: TrainConfig, *, num_classes: int) -> None:
    shape = (config.global_batch, 3, config.image_size, config.image_size)
    if tuple(batch.images.shape) != shape:
        raise TrainingError(
            f"the first batch has the shape {tuple(batch.images.shape)}, not {shape}",
            fix="this is a defect of the loader: please report it with the configuration",
        )
    labels = batch.gt_labels[batch.gt_valid]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise TrainingError(
            f"the first batch has class {int(labels.max())}, the label space {num_classes} classes",
            fix="merge and shard again: shards and label space are of different catalogs",
        )


def _draw(batch: Batch, space: LabelSpace, job: TrainJob) -> str:
    uri = storage.join(job.out_uri, PICTURE_FILE)
    picture = draw_batch(batch, space.names)
    is_done, data = cv2.imencode(Path(uri).suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert is_done
    storage.write_bytes(uri, data.tobytes())
    return uri


def _first_loss(
    state: TrainState, batch: Batch, *, is_fresh: bool
) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
    config, device = state.config, next(state.model.parameters()).device
    detector = state.model.detector.train()
    local = steps.to_device(batch, device, layout=_layout(config))
    with torch.no_grad():
        with steps.autocast(device, choose_precision(config, device)):
            output = detector(local.images)
        parts = state.model.loss(
            output, local.gt_boxes, local.gt_labels, local.gt_valid, local.class_mask
        )
    losses = {name: float(getattr(parts, name)) for name in ("total", "qfl", "giou", "dfl")}
    if not torch.isfinite(parts.total):
        raise TrainingError(
            f"the loss of step 0 is not finite: {losses}",
            fix="look at the picture of the first batch, and at the weights it starts from",
        )
    if not is_fresh:
        return losses, {}, ()
    num_images, num_anchors, num_classes = output.class_logits.shape
    known = torch.full((num_images,), num_classes)
    expected = expected_loss(
        config.loss,
        parts,
        class_prior=config.class_prior,
        num_known=known if local.class_mask is None else local.class_mask.sum(dim=1),
        num_anchors=num_anchors,
        num_bins=output.side_logits.shape[-1],
    )
    return losses, expected._asdict(), tuple(deviations(expected, parts))


def _time(
    state: TrainState, loader: TrainLoader, phase: Phase, *, teacher: Detector | None
) -> tuple[float, float]:
    """Return seconds of a step, data included, and of its data."""
    config, device = state.config, next(state.model.parameters()).device
    parts = 1 if config.accumulation == "auto" else config.accumulation
    batches = chain.from_iterable(loader.epoch(epoch, phase=phase) for epoch in count())
    timed, total, waited = -1, 0.0, 0.0  # the first one warms up
    while timed < MIN_STEPS or total < MIN_SECONDS:
        began = time.perf_counter()
        batch = next(batches)
        got = time.perf_counter()
        local = steps.to_device(batch, device, layout=_layout(config))
        steps.backward(
            state.model,
            steps.split(local, parts),
            teacher=teacher,
            distill_weight=config.distill.weight if config.distill else 0.0,
            precision=choose_precision(config, device),
        )
        state.optimizer.step()  # at rate 0: only its time and memory count
        state.optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        timed += 1
        if timed:
            total, waited = total + time.perf_counter() - began, waited + got - began
    return total / timed, waited / timed


def _layout(config: TrainConfig) -> torch.memory_format:
    return torch.channels_last if config.channels_last else torch.contiguous_format


def _checkpoint_bytes(state: TrainState) -> int:
    weights = [*state.model.state_dict().values(), *state.average.state_dict().values()]
    size: int = sum(value.numel() * value.element_size() for value in weights)
    parameters: int = sum(p.numel() * p.element_size() for p in state.model.parameters())
    return size + parameters * (2 if state.config.optimizer.kind == "adamw" else 1)
