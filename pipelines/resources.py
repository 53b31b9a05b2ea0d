"""CPU, memory and GPU of each kind of step on a cluster. A local run ignores them."""

from typing import Any

SMALL = {"cpu": "1", "memory": "4Gi"}
LARGE = {"cpu": "4", "memory": "16Gi"}


def sized(task: Any, size: dict[str, str]) -> Any:
    """Ask for the resources of `size` on a task and return the task."""
    task.set_cpu_request(size["cpu"]).set_memory_request(size["memory"])
    return task.set_memory_limit(size["memory"])
