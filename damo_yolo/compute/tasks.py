"""The same function on many inputs, over the workers of a Ray cluster."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from damo_yolo.compute.ray_cluster import connect

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_tasks(
    function: Callable[[Item], Result], items: Sequence[Item], *, num_cpus: int = 1
) -> list[Result]:
    """Return the function's results in the order of the items.

    One item runs here, without Ray. No more run at once than the cluster has processors for; the
    others wait. A task whose worker dies is run again by Ray.

    Args:
        function: of a module, so that workers can import it.
        items: its inputs; locations rather than data.
        num_cpus: that a task may use.

    Raises:
        TrainingError: the cluster of RAY_ADDRESS does not answer.
        Exception: whatever the function raises.
    """
    if len(items) < 2:  # noqa: PLR2004 - nothing to share
        return [function(item) for item in items]
    with connect(num_cpus=num_cpus):
        import ray

        remote = ray.remote(num_cpus=num_cpus)(function)
        try:
            results: list[Result] = ray.get([remote.remote(item) for item in items])
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
    return results
