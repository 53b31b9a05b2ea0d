import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from damo_yolo.compute import rayjob
from damo_yolo.compute.rayjob_manifest import (
    RayJobConfig,
    load_rayjob_config,
    raycluster_spec,
    rayjob_manifest,
)
from tests.unit.compute.kubernetes_api import FakeCluster, kubeconfig, serve
from tests.unit.infra.schemas import errors_of

K8S = Path(__file__).resolve().parents[3] / "infra" / "k8s"
CONFIGS = sorted((K8S / "rayjob").glob("*.yaml"))
KUSTOMIZATIONS = sorted(K8S.glob("*/kustomization.yaml"))
OBJECT_FILES = sorted(
    set(K8S.rglob("*.yaml")) - set(CONFIGS) - set(K8S.rglob("kustomization.yaml"))
)


def _name(path: Path) -> str:
    return str(path.relative_to(K8S))


def _objects(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _only(kind: str) -> dict[str, Any]:
    found = [item for path in OBJECT_FILES for item in _objects(path) if item["kind"] == kind]
    assert len(found) == 1, kind
    return found[0]


@pytest.mark.parametrize("path", OBJECT_FILES, ids=_name)
def test_every_object_says_what_it_is_and_its_name(path: Path) -> None:
    for item in _objects(path):
        assert item["apiVersion"], path
        assert item["kind"], path
        assert item["metadata"]["name"], path


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=_name)
def test_kustomizations_name_what_exists(path: Path) -> None:
    resources = yaml.safe_load(path.read_text(encoding="utf-8"))["resources"]

    assert resources
    assert [name for name in resources if not (path.parent / name).exists()] == []


def test_every_file_of_the_base_is_in_its_list() -> None:
    base = K8S / "base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]

    assert {*listed, "kustomization.yaml"} == {path.name for path in base.iterdir()}


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=_name)
def test_kustomize_builds(path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, whose kustomize builds without a cluster")
    built = subprocess.run(
        [kubectl, "kustomize", str(path.parent)], capture_output=True, text=True, check=True
    )

    assert {item["kind"] for item in yaml.safe_load_all(built.stdout)}


def test_with_profiles_steps_are_bound_as_default_editor() -> None:
    overlay = yaml.safe_load((K8S / "multi-user" / "kustomization.yaml").read_text("utf-8"))
    (patch,) = overlay["patches"]
    binding = _only("RoleBinding")

    assert patch["target"] == {"kind": "RoleBinding", "name": binding["metadata"]["name"]}
    (operation,) = yaml.safe_load(patch["patch"])
    assert operation["path"] == "/subjects/0"
    assert set(operation["value"]) == set(binding["subjects"][0])
    assert operation["value"]["name"] == "default-editor"


def test_the_role_allows_what_a_step_does_and_nothing_beside_rayjobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = FakeCluster()
    cluster.script = [{"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}]
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    manifest = rayjob_manifest(RayJobConfig(image="x"), name="train", command=["damo-yolo"])
    with serve(cluster) as server:
        (tmp_path / "kubeconfig").write_text(kubeconfig(server), encoding="utf-8")
        rayjob.run_rayjob(manifest, poll_s=0.01)

    (rule,) = _only("Role")["rules"]
    assert (rule["apiGroups"], rule["resources"]) == (["ray.io"], ["rayjobs"])
    assert set(cluster.requests) == {"create", "get", "delete"}
    assert set(cluster.requests) <= set(rule["verbs"])


def test_the_binding_gives_the_role_that_is_there() -> None:
    binding, role = _only("RoleBinding"), _only("Role")

    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["roleRef"]["kind"] == "Role"


def test_the_names_that_rayjobs_use_by_default_are_there() -> None:
    config = RayJobConfig(image="x")
    base = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text(encoding="utf-8"))

    assert _only("Namespace")["metadata"]["name"] == base["namespace"] == config.namespace
    assert _only("ServiceAccount")["metadata"]["name"] == config.service_account
    assert (_only("Secret")["metadata"]["name"],) == config.secrets


def test_the_secret_is_a_template_that_nobody_applies() -> None:
    values = _only("Secret")["stringData"]
    listed = [yaml.safe_load(path.read_text("utf-8"))["resources"] for path in KUSTOMIZATIONS]

    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"} <= set(values)
    assert [name for name, text in values.items() if not text.startswith("<")] == []
    assert not [name for names in listed for name in names if "secret" in name]


def test_only_the_operator_reaches_ray_from_outside_the_namespace() -> None:
    policy = _only("NetworkPolicy")["spec"]
    inside, operator = policy["ingress"]

    assert policy["podSelector"] == {}  # all pods
    assert inside == {"from": [{"podSelector": {}}]}  # of this namespace
    assert [port["port"] for port in operator["ports"]] == [8265]
    (peer,) = operator["from"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}


@pytest.mark.parametrize("path", CONFIGS, ids=_name)
def test_example_configs_make_jobs_that_kuberay_knows(path: Path) -> None:
    config = load_rayjob_config(str(path))

    manifest = rayjob_manifest(config, name="train", command=["damo-yolo", "train"])

    assert errors_of(manifest) == []


def test_the_gpu_example_uses_the_claim_that_is_there() -> None:
    config = load_rayjob_config(str(K8S / "rayjob" / "gpu.yaml"))

    assert config.scratch_claim == _only("PersistentVolumeClaim")["metadata"]["name"]
    assert config.num_ranks == 8  # as its first line says


def test_the_standing_cluster_is_one_that_kuberay_knows() -> None:
    assert errors_of(_only("RayCluster")) == []


def test_the_standing_cluster_is_what_a_job_would_start() -> None:
    config = load_rayjob_config(str(K8S / "rayjob" / "cpu.yaml"))

    assert _only("RayCluster")["spec"] == raycluster_spec(config)
