"""One rank of a training, from locations to a model file. Ray-free: a launcher gives the rank."""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.models.zoo import short_name
from damo_yolo.training.build import build_state, load_teacher, start_from, write_model
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.loop import train
from damo_yolo.training.progress import MetricsLog
from damo_yolo.training.ranks import DEFAULT_TIMEOUT_S
from damo_yolo.training.reporter import GO_ON, Record
from damo_yolo.training.state import TrainState, load_state, save_state, write_tensors
from damo_yolo.training.validation import Validator

CHECKPOINT_FOLDER = "checkpoint"
FAILURES_FOLDER = "failures"
MODEL_FILE = "model.pt"
BEST_FILE = "best.pt"
LAST_FILE = "last.pt"


@dataclass(frozen=True, slots=True)
class Launcher:
    """What a training may ask of whoever started it; the defaults are those of a plain process."""

    on_epoch: Callable[[Record], None] | None = None
    """Called after every epoch on every rank."""
    wish: Callable[[], int] = lambda: GO_ON
    """Asked before every step on every rank, see `Reporter.wish`."""


class TrainJob(Config):
    """What a launcher hands to every rank."""

    config: TrainConfig
    shards_uri: str
    plan_uri: str
    out_uri: str
    """Model folder; every rank reaches it."""
    teacher_uri: str = ""
    init_uri: str = ""
    """Weights to start from: a model folder, a `.pt` or a published `.pth`; empty: random ones."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    """How long ranks wait for each other."""
    loader_processes: int = 0
    """Beside each rank; 0 loads in the rank itself."""
    run_key: str
    """Hash of configuration, data and teacher: a checkpoint of another key is refused."""
    manifest_sha256: str = ""


class FolderReporter:
    """Keeps metrics, checkpoints and failed steps in the model folder; rank 0 writes."""

    def __init__(
        self, job: TrainJob, *, rank: int, start_step: int, launcher: Launcher | None = None
    ) -> None:
        self._job = job
        self._rank = rank
        self._launcher = launcher or Launcher()
        self._log = MetricsLog(job.out_uri, start_step=start_step) if rank == 0 else None

    def wish(self) -> int:
        """Return what the launcher wishes."""
        return self._launcher.wish()

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
        if self._launcher.on_epoch:
            self._launcher.on_epoch(record)

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
    launcher: Launcher | None = None,
) -> None:
    """Train, or continue, one rank of a job; rank 0 writes `model.pt` at the end.

    Args:
        job: what to train.
        rank: of this process.
        world_size: processes that train together; a process group is up when above 1.
        device: None is the CPU.
        launcher: who started it; None: nobody who wants to know.

    Raises:
        ConfigError: the batch cannot be cut as asked.
        TrainingError: the checkpoint or the teacher does not fit, or a loss is not finite.
    """
    config, device = job.config, device or torch.device("cpu")
    check_split(config, world_size)
    space = LabelSpace.load(storage.join(job.shards_uri, "label_space.csv"))
    teacher = None
    if config.distill:
        sha256 = space.sha256
        teacher = load_teacher(job.teacher_uri, config, label_space_sha256=sha256, device=device)
    loader = TrainLoader(
        job.shards_uri,
        job.plan_uri,
        loader_config(job),
        seed=config.seed,
        rank=rank,
        world_size=world_size,
    )
    state = build_state(
        config,
        num_classes=len(space),
        device=device,
        teacher=teacher,
        timeout_s=job.timeout_s,
    )
    state.quarantine.num_images = loader.num_images
    folder = storage.join(job.out_uri, CHECKPOINT_FOLDER)
    is_resumed = load_state(state, folder, run_key=job.run_key, rank=rank)
    if job.init_uri and not is_resumed:
        start_from(state, job.init_uri, space)
    validator = _validator(job, state, space, rank=rank, world_size=world_size)
    start_step = state.position.step
    reporter = FolderReporter(job, rank=rank, start_step=start_step, launcher=launcher)
    with cpu_settings(config):
        train(
            state,
            loader,
            reporter,
            teacher=teacher,
            validator=validator,
            timeout_s=job.timeout_s,
        )
    if rank == 0:
        _write_models(job, state, state.average.state_dict(), space)


def _write_models(
    job: TrainJob, state: TrainState, last: Mapping[str, Tensor], space: LabelSpace
) -> None:
    """Write `model.pt`, and both candidates beside the checkpoint where there was a choice."""

    def write(weights: Mapping[str, Tensor], *parts: str) -> None:
        uri = storage.join(job.out_uri, *parts)
        write_model(state, weights, uri, space=space, manifest_sha256=job.manifest_sha256)

    best = state.best.best_weights
    if best:
        write(best, CHECKPOINT_FOLDER, BEST_FILE)
        write(last, CHECKPOINT_FOLDER, LAST_FILE)
    validation = state.config.validation
    takes_best = best and validation is not None and validation.deploy == "best"
    write(best if takes_best else last, MODEL_FILE)


def _validator(
    job: TrainJob, state: TrainState, space: LabelSpace, *, rank: int, world_size: int
) -> Validator | None:
    config, detector = job.config, state.model.detector
    if config.validation is None:
        return None
    info = DetectorInfo(
        model=short_name(config.model),
        image_size=config.image_size,
        class_names=tuple(space.names),
        label_space_sha256=space.sha256,
        score_threshold=detector.config.score_threshold,
        iou_threshold=detector.config.iou_threshold,
    )
    return Validator(
        detector,
        info,
        config.validation,
        shards_uri=job.shards_uri,
        rank=rank,
        world_size=world_size,
    )


def loader_config(job: TrainJob) -> LoaderConfig:
    """Return how the batches of a job are made."""
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


def check_split(config: TrainConfig, world_size: int) -> None:
    """Raise `ConfigError` where a global batch cannot be cut into its workers' parts."""
    parts = 1 if config.accumulation == "auto" else config.accumulation
    if config.global_batch % (world_size * parts):
        raise ConfigError(
            f"global_batch {config.global_batch} cannot be cut into {world_size} workers times "
            f"accumulation {parts}",
            fix="choose numbers whose product divides global_batch",
        )


@contextmanager
def cpu_settings(config: TrainConfig) -> Iterator[None]:
    """Set what belongs to the whole process, and set back what can be."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(config.num_threads)
    torch.set_flush_denormal(True)  # numbers near 0 are slow on CPUs
    _keep_freed_memory()
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
        torch.set_flush_denormal(False)


def _keep_freed_memory() -> None:
    """Let the allocator keep what a step frees; the next would get and clear the same pages again.

    Where the training is not in its process's first thread, as in a Ray worker, only with
    MALLOC_ARENA_MAX=1 in the environment. What both are worth: benchmarks/README.md.
    """
    if os.name != "posix":
        return
    try:
        libc = ctypes.CDLL(None)
        mmap_max, trim_threshold = -4, -1  # names of malloc.h
        libc.mallopt(mmap_max, 0)  # blocks of their own are given back when they are freed
        libc.mallopt(trim_threshold, (2 << 30) - 1)
    except (AttributeError, OSError):  # another C library: nothing to gain
        return
