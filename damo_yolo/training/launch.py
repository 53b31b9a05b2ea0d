"""Start the ranks of a training: in this process, as Ray workers, or as a RayJob on Kubernetes."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from damo_yolo import storage
from damo_yolo.compute.ray_cluster import connect
from damo_yolo.compute.rayjob import run_rayjob
from damo_yolo.compute.rayjob_manifest import (
    RayJobConfig,
    load_rayjob_config,
    rayjob_manifest,
)
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, DamoYoloError, TrainingError
from damo_yolo.training.ranks import DEFAULT_TIMEOUT_S
from damo_yolo.training.run import Launcher, TrainJob, run_training
from damo_yolo.training.stop import (
    StopWish,
    ask_to_stop,
    forget_request,
    on_sigterm,
    stoppable,
)
from damo_yolo.training.worker import train_loop_per_worker

RAY_FOLDER = "ray"
ELASTIC_START_S = "20"
"""How long Ray waits for the machines of a worker group before it counts them again. One that has
just gone is still counted, and waited for."""
CONFIG_FILE = "config.yaml"
"""Of a model folder: the whole configuration, written before a training starts."""


class LaunchConfig(Config):
    """Where a training runs; the trained weights depend on it only by rounding and batch norm."""

    launcher: Literal["ray", "process", "rayjob"] = "ray"
    """`process`: one rank in the calling process, no Ray. `rayjob`: a Ray cluster of its own on
    Kubernetes."""
    rayjob: RayJobConfig | None = None
    """Of the launcher `rayjob`: what the cluster is made of."""
    num_workers: int = Field(default=2, ge=0)
    """Ranks that train together; 0 is one rank in the calling process."""
    min_workers: int | None = Field(default=None, ge=1)
    """Go on with as few while machines are away, and with more when they come back; None: never
    fewer than `num_workers`. Every number between must divide the global batch."""
    resize_s: float = Field(default=60.0, gt=0)
    """With `min_workers`: time between two looks for machines that came back. With more of them all
    start again from the last checkpoint."""
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, gt=0)
    """How long ranks wait for one that hangs before it is named and all start again."""
    use_gpu: bool = False
    """One GPU a worker; False: one CPU a worker."""
    loader_processes: int = Field(default=0, ge=0)
    """Processes beside each rank that decode and augment; 0 does it in the rank itself."""
    max_failures: int = Field(default=2, ge=0)
    """Restarts of the workers, each from the last checkpoint."""


def launch_config(*, rayjob: str = "", **settings: Any) -> LaunchConfig:
    """Return where a training runs.

    Args:
        rayjob: YAML of a `RayJobConfig`, or the location of such a file; empty: on this machine, or
            the Ray cluster that it belongs to.
        settings: fields of `LaunchConfig`.
    """
    if rayjob:
        settings |= {"launcher": "rayjob", "rayjob": load_rayjob_config(rayjob)}
    return LaunchConfig.from_mapping(settings, source="the launcher's settings")


def launch(job: TrainJob, config: LaunchConfig) -> None:
    """Run a training to its end.

    Raises:
        TrainingError: workers failed more often than allowed, or the training cannot go on.
        DamoYoloError: what a worker found wrong with data or configuration.
    """
    if config.launcher == "rayjob":
        _submit(job, config)
        return
    update = {"loader_processes": config.loader_processes, "timeout_s": config.timeout_s}
    job = job.model_copy(update=update)
    forget_request(job.out_uri)
    if config.launcher == "process" or config.num_workers == 0:
        launcher = Launcher(wish=StopWish(job.out_uri))
        with stoppable():
            run_training(job, device=_own_device(config), launcher=launcher)
        return
    _check_elastic(job, config)
    with (
        connect(num_cpus=config.num_workers) as is_own,
        on_sigterm(lambda: ask_to_stop(job.out_uri)),
    ):
        _fit(job, config, ends_alone=is_own)


def _check_elastic(job: TrainJob, config: LaunchConfig) -> None:
    batch, least = job.config.global_batch, config.min_workers or config.num_workers
    unfit = [n for n in range(least, config.num_workers + 1) if batch % n]
    if config.min_workers and (unfit or least > config.num_workers):
        fitting = [n for n in range(1, batch + 1) if batch % n == 0]
        raise ConfigError(
            f"between {least} and {config.num_workers} workers cannot share a global batch of "
            f"{batch}",
            fix=f"choose min_workers and num_workers so that all between are among {fitting}",
        )


def _submit(job: TrainJob, config: LaunchConfig) -> None:
    """Run `damo-yolo train` on a Ray cluster of its own; metrics and model come back as files."""
    if config.rayjob is None or not storage.is_remote(job.out_uri):
        raise ConfigError(
            f"a RayJob cannot train into {job.out_uri}"
            if config.rayjob
            else "the launcher 'rayjob' has no description of its cluster",
            fix="give an s3:// workspace and a RayJob description (docs/kubernetes.md)",
        )
    command = ["damo-yolo", "train", "--config", storage.join(job.out_uri, CONFIG_FILE)]
    command += ["--shards", job.shards_uri, "--plan", job.plan_uri, "--out", job.out_uri]
    command += ["--workers", str(config.rayjob.num_ranks)]
    command += ["--loader-processes", str(config.loader_processes)]
    command += ["--tracking-uri", ""]  # the step that waits logs; the job must not log as well
    command += ["--teacher", job.teacher_uri] if job.teacher_uri else []
    command += ["--init", job.init_uri] if job.init_uri else []
    command += ["--gpu"] if config.rayjob.gpus else []
    manifest = rayjob_manifest(config.rayjob, name=f"train-{job.run_key[:16]}", command=command)
    run_rayjob(manifest, timeout_s=config.rayjob.timeout_s)


def _fit(job: TrainJob, config: LaunchConfig, *, ends_alone: bool) -> None:
    if config.min_workers:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", ELASTIC_START_S)
    import ray.train  # noqa: PLC0415 - reads its settings when imported: `connect` goes first

    from damo_yolo.training.ray_backend import (  # noqa: PLC0415
        LeanTorchTrainer,
        StoppableTorchConfig,
    )

    storage_uri = storage.join(job.out_uri, RAY_FOLDER)
    if not storage.is_remote(storage_uri):
        storage_uri = str(Path(storage_uri).resolve())  # workers run in Ray's own folder
        shutil.rmtree(storage_uri, ignore_errors=True)  # of an attempt that was killed
    trainer = LeanTorchTrainer(
        train_loop_per_worker,
        ends_alone=ends_alone,
        train_loop_config=job.model_dump(mode="json"),
        torch_config=StoppableTorchConfig(
            backend="nccl" if config.use_gpu else "gloo", timeout_s=int(config.timeout_s)
        ),
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg]  # its types are older
            num_workers=_num_workers(config),
            use_gpu=config.use_gpu,
            elastic_resize_monitor_interval_s=config.resize_s,
        ),
        run_config=ray.train.RunConfig(
            name=f"train-{job.run_key[:16]}",  # the same for every attempt at the same training
            storage_path=storage_uri,
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
        ),
    )
    try:
        with _interrupts_given_back():
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _cause(error) from error
    found = getattr(result, "return_value", None)
    if isinstance(found, DamoYoloError):
        raise found
    if not storage.is_remote(storage_uri):
        shutil.rmtree(storage_uri, ignore_errors=True)


def _num_workers(config: LaunchConfig) -> Any:
    """Return a number of ranks, or the least and the most, as Ray takes them."""
    if config.min_workers is None:
        return config.num_workers
    return config.min_workers, config.num_workers


@contextmanager
def _interrupts_given_back() -> Iterator[None]:
    """Take SIGINT back from Ray Train, whose handler outlives its run and would start Ray again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _cause(error: Exception) -> DamoYoloError:
    """Return the error a user can act on, from what the workers raised."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    for _, failure in sorted(failures.items()):
        raised = getattr(failure, "_base_exc", failure)  # Ray wraps it to keep its traceback
        if isinstance(raised, DamoYoloError):
            return raised
    rank, first = next(iter(sorted(failures.items())), ("?", error))
    reason = str(first).strip().splitlines()[-1]
    return TrainingError(
        f"training failed on rank {rank}: {reason}",
        fix="the traceback above names the line; run again to continue from the last checkpoint",
    )


def _own_device(config: LaunchConfig) -> torch.device:
    if config.use_gpu and not torch.cuda.is_available():
        raise TrainingError("no GPU is visible here", fix="set use_gpu to false")
    return torch.device("cuda" if config.use_gpu else "cpu")
