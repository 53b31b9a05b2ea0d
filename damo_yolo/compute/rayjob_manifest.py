"""What KubeRay is asked for: one command of this project, in a Ray cluster made for it.

The Ray head drives and trains nothing; every worker pod takes one rank, or one rank per GPU. Limits
named here are KubeRay's (ray.io/v1), which builds other objects' names from the job's.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from damo_yolo import storage
from damo_yolo.compute.ray_cluster import OBJECT_STORE_BYTES
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError

RAY_VERSION = "2.60.0"
"""Of the image; KubeRay chooses probes and token handling by it."""
LABELS = {"app.kubernetes.io/part-of": "damo-yolo"}
GPU = "nvidia.com/gpu"
USER_ID = 1000
"""Of the images in infra/images, and the group that owns mounted volumes."""

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
_WORD = re.compile(r"[\w@%+=:,./ -]*", re.ASCII)
_SIZE = r"^[1-9]\d*(Mi|Gi)$"


class RayJobConfig(Config):
    """Where a training runs on Kubernetes, and what it may use there."""

    image: str = Field(min_length=1)
    """Container image with this project in it (infra/images), by tag or digest."""
    namespace: str = "damo-yolo"
    """Where job, secrets and service account live (infra/k8s/base)."""
    service_account: str = "damo-yolo-ray"
    """Of the Ray pods; it needs no rights."""
    num_workers: int = Field(default=2, ge=1)
    """Worker pods."""
    cpus: int = Field(default=4, ge=1)
    """CPUs of a worker pod."""
    memory: str = Field(default="16Gi", pattern=_SIZE)
    """Of a worker pod, shared memory included."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of a worker pod; 0 trains on the CPU, one rank a pod."""
    shared_memory: str = Field(default="2Gi", pattern=_SIZE)
    """Size of /dev/shm, through which loader processes and NCCL pass tensors."""
    head_cpus: int = Field(default=1, ge=1)
    head_memory: str = Field(default="4Gi", pattern=_SIZE)
    """Of the pod that holds Ray's head and the command itself."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that workers may run on; empty: any that has the resources."""
    secrets: tuple[str, ...] = ("damo-yolo-storage",)
    """Secrets whose keys become environment variables: object store, MLflow."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables that are no secret."""
    image_pull_secrets: tuple[str, ...] = ()
    scratch_claim: str = ""
    """Volume claim for temporary files, shared by all pods; empty: each node's own disk."""
    backoff: int = Field(default=1, ge=0)
    """Fresh clusters after a failed one; training continues from its checkpoint."""
    start_timeout_s: int = Field(default=3600, ge=1)
    """Seconds until all pods must run: room for nodes to be added and images to be pulled."""
    timeout_s: int = Field(default=7 * 24 * 3600, ge=1)
    """Seconds until the job is stopped, whatever it does."""
    ttl_s: int = Field(default=600, ge=0)
    """Seconds that the cluster of an ended job stays, to look at."""
    auth: Literal["token", "disabled"] = "token"
    """How Ray's own ports are guarded; `token` needs KubeRay 1.6."""
    cluster: str = ""
    """Standing RayCluster to run in (infra/k8s/ray-cluster); empty starts one for the job."""

    @model_validator(mode="after")
    def _shared_memory_fits(self) -> Self:
        if _mebibytes(self.shared_memory) >= _mebibytes(self.memory):
            raise ValueError(
                f"shared_memory {self.shared_memory} counts towards memory {self.memory} "
                "and leaves nothing of it"
            )
        return self

    @property
    def num_ranks(self) -> int:
        """Training processes that fit: one per worker pod, or one per GPU."""
        return self.num_workers * max(1, self.gpus)


def load_rayjob_config(text_or_uri: str) -> RayJobConfig:
    """Return the config of YAML text, or of a `.yaml` file at a location.

    Raises:
        ConfigError: the YAML does not describe a RayJob.
        StorageError: nothing is at the location.
    """
    text = text_or_uri.strip()
    if text.endswith((".yaml", ".yml")) and "\n" not in text and ": " not in text:
        return RayJobConfig.from_yaml(storage.read_text(text), source=text)
    return RayJobConfig.from_yaml(text, source="rayjob")


def rayjob_manifest(config: RayJobConfig, *, name: str, command: Sequence[str]) -> dict[str, Any]:
    """Return the RayJob object that runs a command.

    Args:
        config: where, and with what.
        name: same name, same job: derive it from what the job makes, not from the time.
        command: program and arguments; the program is on the image's PATH.

    Raises:
        ConfigError: the name is none for Kubernetes, or an argument cannot pass two shells.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a RayJob",
            fix="use up to 47 of a-z, 0-9 and '-', starting with a letter, not ending with '-'",
        )
    spec = _spec_of_standing_cluster(config) if config.cluster else _spec_of_own_cluster(config)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "namespace": config.namespace, "labels": dict(LABELS)},
        "spec": {
            "entrypoint": _entrypoint(command),
            "submissionMode": "K8sJobMode",
            "submitterPodTemplate": _submitter(config),
            "activeDeadlineSeconds": config.timeout_s,
            "preRunningDeadlineSeconds": config.start_timeout_s,
            **spec,
        },
    }


def _entrypoint(command: Sequence[str]) -> str:
    # One shell runs `ray job submit`, which joins the words again for a second one.
    for word in command:
        if not _WORD.fullmatch(word):
            raise ConfigError(
                f"the argument {word!r} cannot be passed to a RayJob unharmed",
                fix="keep to letters, digits, spaces and @%+=:,./-_ or put it into a config file",
            )
    return shlex.join(command)


def _spec_of_standing_cluster(config: RayJobConfig) -> dict[str, Any]:
    return {"clusterSelector": {"ray.io/cluster": config.cluster}}


def _spec_of_own_cluster(config: RayJobConfig) -> dict[str, Any]:
    return {
        "backoffLimit": config.backoff,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": config.ttl_s,
        "rayClusterSpec": raycluster_spec(config),
    }


def raycluster_spec(config: RayJobConfig) -> dict[str, Any]:
    """Return the spec of a RayCluster: one head that trains nothing, `num_workers` that do."""
    store = str(OBJECT_STORE_BYTES)
    head = _container(config, "ray-head", cpus=config.head_cpus, memory=config.head_memory)
    head["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": 8265},
    ]
    worker = _container(config, "ray-worker", cpus=config.cpus, memory=config.memory)
    if config.gpus:
        worker["resources"]["limits"][GPU] = config.gpus
        worker["resources"]["requests"][GPU] = config.gpus
    return {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": config.auth},
        "headGroupSpec": {
            "rayStartParams": {
                "dashboard-host": "0.0.0.0",  # KubeRay asks it; others the network policy keeps out
                "num-cpus": "0",  # no rank on the head
                "object-store-memory": store,
            },
            "template": _pod(config, head, is_worker=False),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": config.num_workers,
                "minReplicas": config.num_workers,
                "maxReplicas": config.num_workers,
                # Logical CPUs: a rank takes one, so as many ranks fit as the pod should hold.
                "rayStartParams": {
                    "num-cpus": str(max(1, config.gpus)),
                    "object-store-memory": store,
                },
                "template": _pod(config, worker, is_worker=True),
            }
        ],
    }


def _container(config: RayJobConfig, name: str, *, cpus: int, memory: str) -> dict[str, Any]:
    env = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": "/tmp",  # Ray's own place, which TMPDIR would move
        "TMPDIR": "/scratch",
        **config.env,
    }
    size = {"cpu": cpus, "memory": memory}
    return {
        "name": name,
        "image": config.image,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "envFrom": [{"secretRef": {"name": secret}} for secret in config.secrets],
        "resources": {"limits": dict(size), "requests": dict(size)},
        "securityContext": _container_security(),
        "volumeMounts": [
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "scratch", "mountPath": "/scratch"},
        ],
    }


def _pod(config: RayJobConfig, container: dict[str, Any], *, is_worker: bool) -> dict[str, Any]:
    scratch: dict[str, Any] = {"emptyDir": {}}
    if config.scratch_claim:
        scratch = {"persistentVolumeClaim": {"claimName": config.scratch_claim}}
    memory = {"medium": "Memory", "sizeLimit": config.shared_memory}
    spec = _pod_security(config) | {
        "containers": [container],
        "volumes": [
            {"name": "shared-memory", "emptyDir": memory},
            {"name": "scratch", **scratch},
        ],
    }
    if is_worker and config.node_selector:
        spec["nodeSelector"] = dict(config.node_selector)
    if is_worker and config.gpus:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": dict(LABELS)}, "spec": spec}


def _submitter(config: RayJobConfig) -> dict[str, Any]:
    """Return the pod that hands the command to Ray and shows its log; KubeRay adds the command."""
    container = {
        "name": "ray-job-submitter",
        "image": config.image,
        "resources": {
            "limits": {"cpu": 1, "memory": "1Gi"},
            "requests": {"cpu": "500m", "memory": "512Mi"},
        },
        "securityContext": _container_security(),
    }
    spec = _pod_security(config) | {"restartPolicy": "Never", "containers": [container]}
    return {"metadata": {"labels": dict(LABELS)}, "spec": spec}


def _pod_security(config: RayJobConfig) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "serviceAccountName": config.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if config.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in config.image_pull_secrets]
    return spec


def _container_security() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _mebibytes(size: str) -> int:
    return int(size[:-2]) * (1024 if size.endswith("Gi") else 1)
