"""One rank of a training, from locations to a model file. Ray-free: a launcher gives the rank."""

import ctypes
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from damo_yolo import __version__, storage
from damo_yolo.config import Config
from damo_yolo.distillation.channel_wise import ChannelWiseDistillation
from damo_yolo.errors import ConfigError, TrainingError
from damo_yolo.inference.model_folder import load_model
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.detector import Detector
from damo_yolo.models.zoo import build_detector
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.ema import WeightAverage
from damo_yolo.training.loop import Record, train
from damo_yolo.training.optim import build_optimizer
from damo_yolo.training.progress import MetricsLog
from damo_yolo.training.state import (
    TrainState,
    load_state,
    save_state,
    seed_everything,
    write_tensors,
)
from damo_yolo.training.step import TrainedModel

CHECKPOINT_FOLDER = "checkpoint"
FAILURES_FOLDER = "failures"
MODEL_FILE = "model.pt"
EndOfEpoch = Callable[[Record], None]


class TrainJob(Config):
    """What a launcher hands to every rank."""

    config: TrainConfig
    shards_uri: str
    plan_uri: str
    out_uri: str
    """Model folder; every rank reaches it."""
    teacher_uri: str = ""
    loader_processes: int = 0
    """Beside each rank; 0 loads in the rank itself."""
    run_key: str
    """Hash of configuration, data and teacher: a checkpoint of another key is refused."""
    manifest_sha256: str = ""


class FolderReporter:
    """Keeps metrics, checkpoints and failed steps in the model folder; rank 0 writes."""

    def __init__(
        self, job: TrainJob, *, rank: int, start_step: int, on_epoch: EndOfEpoch | None = None
    ) -> None:
        self._job = job
        self._rank = rank
        self._on_epoch = on_epoch
        self._log = MetricsLog(job.out_uri, start_step=start_step) if rank == 0 else None

    def log(self, record: Record) -> None:
        """Write a line of metrics."""
        if self._log:
            self._log.add(record)

    def checkpoint(self, state: TrainState) -> None:
        """Write the state; metrics first, so that they cover it."""
        if self._log:
            self._log.flush()
        folder = storage.join(self._job.out_uri, CHECKPOINT_FOLDER)
        save_state(state, folder, run_key=self._job.run_key, is_writer=self._rank == 0)

    def end_epoch(self, record: Record) -> None:
        """Write the line of an epoch and tell the launcher."""
        if self._log:
            self._log.add(record)
            self._log.flush()
        if self._on_epoch:
            self._on_epoch(record)

    def save_failure(self, payload: dict[str, Any], *, step: int) -> str:
        """Write what reproduces a failed step of this rank."""
        name = f"step-{step:06d}-rank-{self._rank}.pt"
        uri = storage.join(self._job.out_uri, FAILURES_FOLDER, name)
        write_tensors(payload, uri)
        return uri


def run_training(
    job: TrainJob,
    *,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | None = None,
    on_epoch: EndOfEpoch | None = None,
) -> None:
    """Train, or continue, one rank of a job; rank 0 writes `model.pt` at the end.

    Args:
        job: what to train.
        rank: of this process.
        world_size: processes that train together; a process group is up when above 1.
        device: None is the CPU.
        on_epoch: called after every epoch on every rank, e.g. to report to a launcher.

    Raises:
        ConfigError: the batch cannot be cut as asked.
        TrainingError: the checkpoint or the teacher does not fit, or a loss is not finite.
    """
    config, device = job.config, device or torch.device("cpu")
    _check_split(config, world_size)
    _prepare_process(config)
    space = LabelSpace.load(storage.join(job.shards_uri, "label_space.csv"))
    teacher = load_teacher(job, space, device) if config.distill else None
    loader = TrainLoader(
        job.shards_uri,
        job.plan_uri,
        _loader_config(job),
        seed=config.seed,
        rank=rank,
        world_size=world_size,
    )
    state = build_state(
        config, num_classes=len(space), device=device, teacher=teacher, sync_norm=world_size > 1
    )
    folder = storage.join(job.out_uri, CHECKPOINT_FOLDER)
    load_state(state, folder, run_key=job.run_key, rank=rank)
    reporter = FolderReporter(job, rank=rank, start_step=state.position.step, on_epoch=on_epoch)
    train(state, loader, reporter, teacher=teacher)
    if rank == 0:
        write_model(state, job, space)


def build_state(
    config: TrainConfig,
    *,
    num_classes: int,
    device: torch.device,
    teacher: Detector | None = None,
    sync_norm: bool = False,
) -> TrainState:
    """Build the state of step 0; equal on every rank, as weights are drawn from the seed.

    Args:
        config: of the run.
        num_classes: of the label space.
        device: where the state lives.
        teacher: whose neck widths the align modules meet.
        sync_norm: share batch statistics between ranks, where the device can (CUDA).
    """
    seed_everything(config.seed)
    detector = build_detector(
        config.model,
        num_classes=num_classes,
        class_prior=config.class_prior,
        bn_momentum=config.bn_momentum,
        image_size=config.image_size,
    )
    distillation = None
    if teacher is not None:
        distillation = ChannelWiseDistillation(detector.neck_channels, teacher.neck_channels)
    model = TrainedModel(detector, DetectionLoss(config.loss), distillation)
    if sync_norm and device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model.detector)  # type: ignore[no-untyped-call]
    _place(model, device, config)
    return TrainState(
        config=config,
        model=model,
        optimizer=build_optimizer(model, config.optimizer),
        average=WeightAverage(detector),
    )


def load_teacher(job: TrainJob, space: LabelSpace, device: torch.device) -> Detector:
    """Load a trained model, frozen and in evaluation mode.

    Raises:
        TrainingError: its label space is another one.
    """
    distill = job.config.distill
    assert distill is not None
    model = load_model(job.teacher_uri)
    if model.info.label_space_sha256 != space.sha256 and not distill.allow_other_classes:
        raise TrainingError(
            f"the teacher at {job.teacher_uri} was trained on another label space than the shards",
            fix="train the teacher on these shards, or set distill.allow_other_classes: true",
        )
    model.detector.eval().requires_grad_(requires_grad=False)
    _place(model.detector, device, job.config)
    return model.detector


def write_model(state: TrainState, job: TrainJob, space: LabelSpace) -> None:
    """Write the averaged weights with all that is needed to use them."""
    detector = state.model.detector
    weights = {
        name: value.to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, value in state.average.state_dict().items()
    }
    payload = {
        "model": weights,
        "config": detector.config.model_dump(mode="json"),
        "name": job.config.model,
        "class_names": list(space.names),
        "image_size": job.config.image_size,
        "label_space_sha256": space.sha256,
        "manifest_sha256": job.manifest_sha256,
        "code_version": __version__,
    }
    write_tensors(payload, storage.join(job.out_uri, MODEL_FILE))


def _place(model: nn.Module, device: torch.device, config: TrainConfig) -> None:
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model.to(device)
    model.to(memory_format=layout)  # type: ignore[call-overload]  # missing in torch's stubs


def _loader_config(job: TrainJob) -> LoaderConfig:
    config = job.config
    return LoaderConfig(
        image_size=config.image_size,
        global_batch=config.global_batch,
        num_lanes=config.num_lanes,
        window=config.window,
        num_workers=job.loader_processes,
        class_mask=config.class_mask,
        ramp_epochs=max(1, config.schedule.epochs - config.schedule.plain_epochs),
        augment=config.augment,
    )


def _check_split(config: TrainConfig, world_size: int) -> None:
    if config.global_batch % (world_size * config.accumulation):
        raise ConfigError(
            f"global_batch {config.global_batch} cannot be cut into {world_size} workers times "
            f"accumulation {config.accumulation}",
            fix="choose numbers whose product divides global_batch",
        )


def _prepare_process(config: TrainConfig) -> None:
    torch.set_num_threads(config.num_threads)
    torch.set_flush_denormal(True)  # numbers near 0 are slow on CPUs
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the allocator keep large blocks between steps: 10 % faster steps on CPU."""
    if os.name != "posix":
        return
    try:
        libc = ctypes.CDLL(None)
        mmap_threshold, trim_threshold = -3, -1  # names of malloc.h
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 512 << 20)
    except (AttributeError, OSError):  # another C library: nothing to gain
        return
