"""A generator function over many items: here, one after the other, or over a Ray cluster."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from damo_yolo.compute.ray_cluster import connect
from damo_yolo.errors import DamoYoloError

Item = TypeVar("Item")
Result = TypeVar("Result")

RESULTS_AHEAD = 8
"""How many results a task may have ready before it waits for them to be taken."""


def stream_tasks(
    function: Callable[[Item], Iterator[Result]], items: Sequence[Item], *, spread: bool
) -> Iterator[Result]:
    """Yield all that `function` yields for the items, in the order of the items either way.

    Args:
        function: a generator function; with `spread`, it, the items and its results are pickled.
        items: one task each.
        spread: run the tasks on the Ray cluster of RAY_ADDRESS, or on a local one.

    Raises:
        TrainingError: the cluster of RAY_ADDRESS does not answer.
        DamoYoloError: what a task raises.
    """
    if spread:
        with connect():
            yield from _spread(function, items)
    else:
        for item in items:
            yield from function(item)


def _spread(
    function: Callable[[Item], Iterator[Result]], items: Sequence[Item]
) -> Iterator[Result]:
    import ray
    from ray.exceptions import RayTaskError

    remote = ray.remote(function).options(
        num_cpus=1, num_returns="streaming", _generator_backpressure_num_objects=RESULTS_AHEAD
    )
    # Tasks whose results wait keep their CPU: with more tasks than CPUs the first might never run.
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own
    at_once = max(1, int(resources.get("CPU", 1)))
    waiting = deque(items)
    running: deque[Any] = deque()
    while waiting or running:
        while waiting and len(running) < at_once:
            running.append(remote.remote(waiting.popleft()))
        try:
            for reference in running.popleft():
                yield ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, DamoYoloError):
                raise error.cause from None
            raise
