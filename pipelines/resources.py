"""CPU, memory and GPU of each kind of step on a cluster. A local run ignores them."""

from typing import Any

from kfp import kubernetes

STORAGE_SECRET = "damo-yolo-storage"
STORAGE_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
"""Of the secret (infra/k8s/secret.example.yaml); each becomes an environment variable."""

SMALL = {"cpu": "1", "memory": "4Gi"}
LARGE = {"cpu": "4", "memory": "16Gi"}


def sized(task: Any, size: dict[str, str]) -> Any:
    """Give a task its resources and the credentials of object store and MLflow; return the task."""
    task.set_cpu_request(size["cpu"]).set_memory_request(size["memory"])
    kubernetes.use_secret_as_env(
        task,
        secret_name=STORAGE_SECRET,
        secret_key_to_env={key: key for key in STORAGE_KEYS},
        optional=True,
    )
    return task.set_memory_limit(size["memory"])
