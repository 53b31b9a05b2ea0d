import shlex
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.compute.rayjob_manifest import (
    GPU,
    RAY_VERSION,
    RayJobConfig,
    load_rayjob_config,
    rayjob_manifest,
)
from damo_yolo.errors import ConfigError
from tests.unit.infra.schemas import errors_of

COMMAND = ["damo-yolo", "train", "--config", "s3://b/t/config.yaml", "--out", "s3://b/t"]
CPU = RayJobConfig(image="registry.example/damo-yolo:1", num_workers=4)
TWO_GPUS = RayJobConfig(
    image="registry.example/damo-yolo:1-gpu",
    gpus=2,
    node_selector={"gpu": "l4"},
    scratch_claim="scratch",
    image_pull_secrets=("registry",),
)
STANDING = RayJobConfig(image="registry.example/damo-yolo:1", cluster="damo-yolo")


def _manifest(config: RayJobConfig) -> dict[str, Any]:
    return rayjob_manifest(config, name="train-0a1b", command=COMMAND)


def _worker(config: RayJobConfig) -> dict[str, Any]:
    group: dict[str, Any] = _manifest(config)["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    return group


@pytest.mark.parametrize("config", [CPU, TWO_GPUS, STANDING])
def test_kuberay_knows_every_field(config: RayJobConfig) -> None:
    assert errors_of(_manifest(config)) == []


def test_the_schema_notices_a_field_that_kuberay_has_not() -> None:
    manifest = _manifest(CPU)
    manifest["spec"]["rayClusterSpec"]["headGroup"] = {}

    assert any("headGroup" in error for error in errors_of(manifest))


def test_the_job_runs_the_command_as_anywhere_else() -> None:
    manifest = _manifest(CPU)

    assert shlex.split(manifest["spec"]["entrypoint"]) == COMMAND
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert manifest["metadata"]["name"] == "train-0a1b"
    assert manifest["metadata"]["namespace"] == "damo-yolo"


def test_an_empty_argument_survives() -> None:
    command = [*COMMAND, "--tracking-uri", ""]

    entrypoint = rayjob_manifest(CPU, name="train", command=command)["spec"]["entrypoint"]

    assert shlex.split(entrypoint) == command


@pytest.mark.parametrize("word", ["a;b", "$HOME", "a'b", "a|b", "two\nlines", "*.jpg"])
def test_an_argument_that_a_second_shell_would_read_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="cannot be passed"):
        rayjob_manifest(CPU, name="train", command=["damo-yolo", word])


@pytest.mark.parametrize("name", ["", "Train", "1st", "train-", "train_a", "t" * 48])
def test_a_name_that_kubernetes_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a RayJob"):
        rayjob_manifest(CPU, name=name, command=COMMAND)


def test_the_cluster_is_made_for_the_job_and_goes_with_it() -> None:
    spec = _manifest(CPU)["spec"]

    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 600
    assert spec["activeDeadlineSeconds"] == CPU.timeout_s
    assert spec["rayClusterSpec"]["rayVersion"] == RAY_VERSION


def test_a_standing_cluster_is_used_and_left_alone() -> None:
    spec = _manifest(STANDING)["spec"]

    assert spec["clusterSelector"] == {"ray.io/cluster": "damo-yolo"}
    assert not {"rayClusterSpec", "shutdownAfterJobFinishes", "backoffLimit"} & set(spec)


def test_cpu_workers_take_one_rank_a_pod_and_the_head_none() -> None:
    group = _worker(CPU)
    head = _manifest(CPU)["spec"]["rayClusterSpec"]["headGroupSpec"]

    assert CPU.num_ranks == 4
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (4, 4, 4)
    assert group["rayStartParams"]["num-cpus"] == "1"
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert GPU not in group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert "tolerations" not in group["template"]["spec"]


def test_gpu_workers_take_one_rank_a_gpu_on_the_chosen_nodes() -> None:
    group = _worker(TWO_GPUS)
    pod = group["template"]["spec"]

    assert TWO_GPUS.num_ranks == 4  # 2 pods of 2
    assert group["rayStartParams"]["num-cpus"] == "2"
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": 4, "memory": "16Gi", GPU: 2}
    assert pod["nodeSelector"] == {"gpu": "l4"}
    assert pod["tolerations"] == [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]


def test_the_head_asks_for_no_gpu_and_goes_anywhere() -> None:
    pod = _manifest(TWO_GPUS)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]

    assert pod["containers"][0]["resources"]["limits"] == {"cpu": 1, "memory": "4Gi"}
    assert "nodeSelector" not in pod


def test_shared_memory_is_a_volume_in_memory() -> None:
    pod = _worker(CPU)["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}

    assert mounts["shared-memory"] == "/dev/shm"
    assert pod["volumes"][0] == {
        "name": "shared-memory",
        "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"},
    }


def test_scratch_is_the_claim_where_one_is_named() -> None:
    volumes = {
        config.scratch_claim: _worker(config)["template"]["spec"]["volumes"][1]
        for config in (CPU, TWO_GPUS)
    }

    assert volumes[""] == {"name": "scratch", "emptyDir": {}}
    assert volumes["scratch"]["persistentVolumeClaim"] == {"claimName": "scratch"}


def test_credentials_come_from_secrets_and_never_stand_in_the_job() -> None:
    container = _worker(CPU)["template"]["spec"]["containers"][0]

    assert container["envFrom"] == [{"secretRef": {"name": "damo-yolo-storage"}}]
    assert not [item for item in container["env"] if "SECRET" in item["name"]]


def test_every_pod_is_unprivileged_and_holds_no_token() -> None:
    spec = _manifest(TWO_GPUS)["spec"]
    cluster = spec["rayClusterSpec"]
    templates = [
        spec["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        cluster["workerGroupSpecs"][0]["template"],
    ]
    for pod in (template["spec"] for template in templates):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == "damo-yolo-ray"
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_shared_memory_that_eats_all_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="counts towards memory"):
        RayJobConfig.from_mapping({"image": "x", "memory": "2Gi", "shared_memory": "2048Mi"})


def test_a_config_is_read_from_text_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "gpu.yaml"
    file.write_text("image: x\ngpus: 1\n", encoding="utf-8")

    assert load_rayjob_config(str(file)) == load_rayjob_config("{image: x, gpus: 1}")


def test_a_config_without_an_image_says_so() -> None:
    with pytest.raises(ConfigError, match="image"):
        load_rayjob_config("{gpus: 1}")
