"""Ray, connected: to the cluster of RAY_ADDRESS, or to one started on this machine.

Ray reads most of its settings when it is imported or started, so they are put into the environment
first; a value the user has set stays.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from damo_yolo.errors import TrainingError

LOCAL_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing leaves this machine
    "RAY_AUTH_MODE": "token",  # its ports are open to the network, its token only to this user
    "RAY_enable_metrics_collection": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_raylet_report_resources_period_milliseconds": "1000",
    "RAY_worker_niceness": "0",  # at 15 Ray's own processes displace a rank
    "REPORTER_UPDATE_INTERVAL_MS": "60000",  # nobody reads what the agent measures
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin starve the other worker
    "MALLOC_ARENA_MAX": "1",  # the arena of any thread but the first gives back what it frees
}
"""Settings of a cluster on this machine: they cut start-up time, or what Ray costs a step."""

OBJECT_STORE_BYTES = 200 << 20
"""Shared memory of a local cluster: training passes files, not objects."""


@contextmanager
def connect(*, num_cpus: int | None = None, include_dashboard: bool = False) -> Iterator[bool]:
    """Connect to Ray for the length of the block, and stop only what this call started.

    An existing connection of the process is used as it is. With RAY_ADDRESS set, the block attaches
    to that cluster and leaves it running; otherwise a local cluster lives as long as the block.
    Yields whether the connection is this block's own: at its end Ray gives back all the block used.

    Args:
        num_cpus: logical CPUs of a local cluster, at least; None: those of the machine.
        include_dashboard: of a local cluster; Ray Train inside a trial of Ray Tune needs it to give
            back the workers of a trial that is stopped.

    Raises:
        TrainingError: the cluster of RAY_ADDRESS does not answer.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        for name, value in LOCAL_SETTINGS.items():
            os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield False
        return
    if address:
        _attach(address)
    else:
        _start(num_cpus, include_dashboard=include_dashboard)
    try:
        yield True
    finally:
        ray.shutdown()  # detaches from a cluster that is not ours


def _start(num_cpus: int | None, *, include_dashboard: bool) -> None:
    import ray

    ray.init(
        address="local",  # otherwise Ray joins whatever cluster last started on this machine
        num_cpus=max(num_cpus or 1, os.cpu_count() or 1),
        include_dashboard=include_dashboard,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    if not include_dashboard:
        _end_log_monitor()


def _end_log_monitor() -> None:
    """End the process that reads every log ten times a second for drivers that listen.

    On two cores it costs 4 % of a training step; `ray.init` has no setting for it. The driver that
    starts the cluster does not listen, and what a user must know is in files or errors.
    """
    from ray._private import worker

    node: Any = worker._global_node  # noqa: SLF001
    node.kill_log_monitor(check_alive=False)


def _attach(address: str) -> None:
    import ray

    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the Ray cluster at RAY_ADDRESS={address} does not answer: {error}",
            fix="start it, correct RAY_ADDRESS, or unset it to run on this machine",
        ) from None
