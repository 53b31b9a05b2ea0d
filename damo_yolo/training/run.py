"""One rank of a training, from locations to a model file. Ray-free: a launcher gives the rank."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.loading.loader import LoaderConfig, TrainLoader
from damo_yolo.training.build import build_state, load_teacher, write_model
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.loop import Record, train
from damo_yolo.training.progress import MetricsLog
from damo_yolo.training.state import TrainState, load_state, save_state, write_tensors

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
    space = LabelSpace.load(storage.join(job.shards_uri, "label_space.csv"))
    teacher = None
    if config.distill:
        sha256 = space.sha256
        teacher = load_teacher(job.teacher_uri, config, label_space_sha256=sha256, device=device)
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
    with _cpu_settings(config):
        train(state, loader, reporter, teacher=teacher)
    if rank == 0:
        uri = storage.join(job.out_uri, MODEL_FILE)
        write_model(state, uri, space, manifest_sha256=job.manifest_sha256)


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


@contextmanager
def _cpu_settings(config: TrainConfig) -> Iterator[None]:
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
