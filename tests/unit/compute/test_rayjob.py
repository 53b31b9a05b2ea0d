import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.compute import rayjob
from damo_yolo.compute.rayjob import run_rayjob
from damo_yolo.compute.rayjob_manifest import RayJobConfig, rayjob_manifest
from damo_yolo.errors import ConfigError, TrainingError
from tests.unit.compute.kubernetes_api import FakeCluster, kubeconfig, serve

JOB = rayjob_manifest(
    RayJobConfig(image="damo-yolo:1"), name="train-0a1b", command=["damo-yolo", "train"]
)
KEY = ("damo-yolo", "train-0a1b")
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
SUCCEEDED = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
FAILED = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    fake = FakeCluster()
    fake.script = [{}, {"jobDeploymentStatus": "Initializing"}, RUNNING, SUCCEEDED]
    monkeypatch.setattr(rayjob, "BACKOFF_S", 0.001)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with serve(fake) as server:
        (tmp_path / "kubeconfig").write_text(kubeconfig(server), encoding="utf-8")
        yield fake


def _run(*, timeout_s: float = 20.0) -> None:
    run_rayjob(JOB, poll_s=0.01, timeout_s=timeout_s)


def _held(status: dict[str, Any], **spec: str) -> dict[str, Any]:
    """Return the job as a server holds it."""
    return {"metadata": {"name": KEY[1]}, "spec": {**JOB["spec"], **spec}, "status": status}


def test_a_job_is_created_watched_to_success_and_deleted(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        _run()

    assert cluster.requests == ["create", "get", "get", "get", "get", "delete"]
    assert cluster.jobs == {}
    told = [record.message for record in caplog.records if record.message.startswith("RayJob")]
    assert told == [
        "RayJob train-0a1b: Initializing",
        "RayJob train-0a1b: Running RUNNING",
        "RayJob train-0a1b: Complete SUCCEEDED",
        "RayJob train-0a1b is deleted",
    ]


def test_a_failed_job_tells_what_the_command_said_and_stays(cluster: FakeCluster) -> None:
    log = (
        "Job entrypoint command failed with exit code 2, last available logs:\n"
        "step 3 of 10\n"
        "error: the loss is not finite at step 3.\n"
        "  fix: lower optimizer.lr_per_image.\n"
    )
    cluster.script = [RUNNING, {**FAILED, "message": log}]

    with pytest.raises(TrainingError) as caught:
        _run()

    assert caught.value.problem == "the loss is not finite at step 3."
    assert caught.value.fix == "lower optimizer.lr_per_image."
    assert KEY in cluster.jobs


def test_a_job_that_failed_without_a_word_names_its_log(cluster: FakeCluster) -> None:
    cluster.script = [RUNNING, {**FAILED, "message": "log follows\nSIGKILL: out of memory\n"}]

    with pytest.raises(TrainingError, match="ended Failed FAILED AppFailed: SIGKILL") as caught:
        _run()

    assert "kubectl -n damo-yolo logs job/train-0a1b" in caught.value.fix


@pytest.mark.parametrize(
    "status",
    [
        {"jobDeploymentStatus": "ValidationFailed", "message": "name is too long"},
        {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED", "message": "name is too long"},
    ],
)
def test_any_end_but_success_is_a_failure(cluster: FakeCluster, status: dict[str, Any]) -> None:
    cluster.script = [status]

    with pytest.raises(TrainingError, match="name is too long"):
        _run()


def test_a_job_that_computes_on_after_its_deadline_is_deleted(cluster: FakeCluster) -> None:
    late = {"jobDeploymentStatus": "Failed", "jobStatus": "RUNNING", "reason": "DeadlineExceeded"}
    cluster.script = [RUNNING, late]

    with pytest.raises(TrainingError, match="ended Failed RUNNING DeadlineExceeded"):
        _run()

    assert cluster.jobs == {}


def test_a_retried_job_is_still_going(cluster: FakeCluster) -> None:
    retrying = {"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}
    cluster.script = [RUNNING, retrying, {"jobDeploymentStatus": "Suspended"}, RUNNING, SUCCEEDED]

    _run()

    assert cluster.requests.count("get") == 5


def test_transient_errors_are_ridden_out(cluster: FakeCluster) -> None:
    cluster.outages = [500, 503, 429]

    _run()

    assert cluster.requests[:4] == ["create"] * 4
    assert cluster.jobs == {}


def test_an_outage_while_watching_is_ridden_out(cluster: FakeCluster) -> None:
    cluster.script = [RUNNING, 502, 504, SUCCEEDED]

    _run()

    assert cluster.requests == ["create", "get", "get", "get", "get", "delete"]


def test_a_server_that_stays_away_is_named_and_the_job_left_alone(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rayjob, "RETRIES", 2)
    cluster.outages = [503] * 3

    with pytest.raises(TrainingError, match="does not answer: etcd is being restarted"):
        _run()

    assert cluster.requests == ["create"] * 3


def test_nobody_at_the_address_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster
) -> None:
    monkeypatch.setattr(rayjob, "RETRIES", 1)
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:9"), encoding="utf-8")

    with pytest.raises(TrainingError, match="does not answer"):
        _run()

    assert cluster.requests == []


def test_a_job_that_is_going_is_attached_to(cluster: FakeCluster) -> None:
    cluster.jobs[KEY] = _held(RUNNING)
    cluster.script = [RUNNING, SUCCEEDED]

    _run()

    assert cluster.requests == ["create", "get", "get", "delete"]


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_a_job_that_has_ended_is_replaced(cluster: FakeCluster, end: dict[str, Any]) -> None:
    cluster.jobs[KEY] = _held(end)
    cluster.script = [end, RUNNING, SUCCEEDED]

    _run()

    assert cluster.requests[:4] == ["create", "get", "delete", "create"]
    assert cluster.jobs == {}


def test_a_job_that_is_being_deleted_is_waited_for(cluster: FakeCluster) -> None:
    cluster.jobs[KEY] = _held(FAILED)
    cluster.script = [FAILED, RUNNING, SUCCEEDED]
    cluster.deletions_take = 2

    _run()

    assert cluster.requests.count("create") == 4  # found, found, found, made
    assert cluster.jobs == {}


def test_another_command_under_the_same_name_is_refused(cluster: FakeCluster) -> None:
    cluster.jobs[KEY] = _held(RUNNING, entrypoint="sleep 1000")
    cluster.script = [RUNNING]

    with pytest.raises(ConfigError, match="with another command: sleep 1000"):
        _run()

    assert KEY in cluster.jobs


def test_a_job_deleted_by_somebody_else_is_told(cluster: FakeCluster) -> None:
    cluster.script = [RUNNING]
    threading.Timer(0.2, cluster.jobs.clear).start()

    with pytest.raises(TrainingError, match="deleted while it was watched"):
        _run()


def test_a_terminated_step_deletes_its_job(cluster: FakeCluster) -> None:
    cluster.script = [RUNNING]
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    with pytest.raises(SystemExit) as caught:
        _run()

    assert caught.value.code == 143
    assert cluster.jobs == {}
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT raises, also where the shell started the tests in the background, deaf to it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_step_deletes_its_job(cluster: FakeCluster) -> None:
    cluster.script = [RUNNING]
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        _run()

    assert cluster.jobs == {}


def test_a_job_that_takes_too_long_is_deleted(cluster: FakeCluster) -> None:
    cluster.script = [RUNNING]

    with pytest.raises(TrainingError, match="did not end within 0 s"):
        _run(timeout_s=0.2)

    assert cluster.jobs == {}


def test_a_missing_operator_is_named(cluster: FakeCluster) -> None:
    cluster.refusal = (404, "404 page not found")

    with pytest.raises(ConfigError, match="404 page not found") as caught:
        _run()

    assert "KubeRay operator" in caught.value.fix


def test_missing_rights_are_named(cluster: FakeCluster) -> None:
    cluster.refusal = (403, {"message": 'cannot create resource "rayjobs"'})

    with pytest.raises(ConfigError, match='cannot create resource "rayjobs"') as caught:
        _run()

    assert "rbac.yaml" in caught.value.fix


def test_a_machine_without_a_cluster_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    with pytest.raises(ConfigError, match="no Kubernetes cluster is configured"):
        _run()


def test_it_runs_outside_the_main_thread(cluster: FakeCluster) -> None:
    errors: list[Exception] = []

    def run() -> None:
        try:
            _run()
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=20)

    assert errors == []
    assert cluster.jobs == {}
