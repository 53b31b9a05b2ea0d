"""Run a RayJob on Kubernetes: create it, watch it, say why it failed, leave nothing behind.

Results come back as files at the locations the command was given, never through the job. The only
module that imports kubernetes, and only when called. It needs the verbs create, get and delete on
rayjobs (infra/k8s/base/rbac.yaml).
"""

import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from damo_yolo.errors import ConfigError, DamoYoloError, TrainingError

if TYPE_CHECKING:
    from kubernetes.client import CustomObjectsApi

RETRIES = 10
"""Of each request: with the waits below some three minutes, as long as a control plane restarts."""
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
RETRIED_STATUS = (429, 500, 502, 503, 504)
REQUEST_TIMEOUT_S = (10, 60)
"""To connect, and to read."""
FAILED = ("Failed", "ValidationFailed")
ENDED = ("Complete", *FAILED)
"""Of the deployment; the Ray job inside has a status of its own."""
GOING = ("PENDING", "RUNNING")

_TOLD = re.compile(r"^error: (?P<problem>.+?)\n\s*fix: (?P<fix>.+?)$", re.MULTILINE | re.DOTALL)

logger = logging.getLogger(__name__)


def run_rayjob(
    manifest: dict[str, Any], *, poll_s: float = 10.0, timeout_s: float = 7 * 24 * 3600
) -> None:
    """Run a RayJob to its end.

    A job of that name that is still going is attached to, so a step that was restarted goes on
    watching; one that has ended is replaced. Success deletes the job, and so do an interrupt
    (KeyboardInterrupt, SIGTERM) and the time limit; its cluster goes with it. A failed job stays,
    to look at; its cluster goes after the job's own time to live.

    Args:
        manifest: from `rayjob_manifest`.
        poll_s: seconds between two looks at its status.
        timeout_s: seconds until the job is deleted, whatever it does.

    Raises:
        TrainingError: the job failed, was removed, or took too long; says what the command said.
        ConfigError: no cluster is configured, or it refuses the job.
    """
    job = _Job(manifest, poll_s=poll_s, deadline=time.monotonic() + timeout_s)
    with _sigterm_raises():
        try:
            _start(job)
            status = _watch(job)
        except (KeyboardInterrupt, SystemExit):
            _remove(job)
            raise
        except TimeoutError:
            _remove(job)
            raise TrainingError(
                f"the RayJob {job.name} did not end within {timeout_s:.0f} s and was deleted",
                fix="raise its timeout_s and run again: it continues from the last checkpoint",
            ) from None
    if status.get("jobStatus") != "SUCCEEDED" or status["jobDeploymentStatus"] in FAILED:
        if status.get("jobStatus") in GOING:
            _remove(job)  # given up by the operator at a deadline, and still computing
        raise _failure(job, status)
    _remove(job)


def _start(job: "_Job") -> None:
    while not job.create():
        found = job.get()
        if found is None:
            continue
        if found["metadata"].get("deletionTimestamp"):
            logger.info("waiting until an older RayJob %s is gone", job.name)
            job.wait()
        elif _status(found)["jobDeploymentStatus"] in ENDED:
            job.delete()
        elif found["spec"].get("entrypoint") != job.manifest["spec"]["entrypoint"]:
            raise ConfigError(
                f"a RayJob {job.name} runs already, with another command: "
                f"{found['spec'].get('entrypoint')}",
                fix=f"wait for it, or remove it: {_delete_command(job)}",
            )
        else:
            logger.info("RayJob %s is going already: watching it", job.name)
            return


def _watch(job: "_Job") -> dict[str, Any]:
    """Return the status that the job ended with."""
    shown = ""
    while True:
        found = job.get()
        if found is None or found["metadata"].get("deletionTimestamp"):
            raise TrainingError(
                f"the RayJob {job.name} was deleted while it was watched",
                fix="run the step again: it continues from the last checkpoint",
            )
        status = _status(found)
        line = " ".join(filter(None, (status["jobDeploymentStatus"], status.get("jobStatus"))))
        if line != shown:
            logger.info("RayJob %s: %s", job.name, line)
            shown = line
        if status["jobDeploymentStatus"] in ENDED:
            return status
        job.wait()


def _remove(job: "_Job") -> None:
    """Delete the job; failing at that is not what the caller has to tell."""
    try:
        job.delete()
    except DamoYoloError as error:
        logger.warning(
            "could not delete the RayJob, which may still run: %s\n  fix: %s",
            error.problem,
            _delete_command(job),
        )
    else:
        logger.info("RayJob %s is deleted", job.name)


def _delete_command(job: "_Job") -> str:
    return f"kubectl -n {job.namespace} delete rayjob {job.name}"


def _failure(job: "_Job", status: dict[str, Any]) -> TrainingError:
    """Return the error of the command itself where its log, kept in the status, has one."""
    message = str(status.get("message") or "")
    told = list(_TOLD.finditer(message))
    if told:
        return TrainingError(told[-1]["problem"].strip(), fix=told[-1]["fix"].strip())
    how = " ".join(
        str(status[name])
        for name in ("jobDeploymentStatus", "jobStatus", "reason")
        if status.get(name)
    )
    last = next((line.strip() for line in reversed(message.splitlines()) if line.strip()), "")
    return TrainingError(
        f"the RayJob {job.name} ended {how}" + (f": {last}" if last else ""),
        fix=f"read its log: kubectl -n {job.namespace} logs job/{job.name}; "
        f"and its events: kubectl -n {job.namespace} describe rayjob {job.name}",
    )


def _status(found: dict[str, Any]) -> dict[str, Any]:
    return {"jobDeploymentStatus": "", **found.get("status", {})}


class _Job:
    """The job of a manifest at the API server."""

    def __init__(self, manifest: dict[str, Any], *, poll_s: float, deadline: float) -> None:
        self.manifest, self.poll_s, self.deadline = manifest, poll_s, deadline
        self.name: str = manifest["metadata"]["name"]
        self.namespace: str = manifest["metadata"]["namespace"]
        self._api = _connect()
        self._where = ("ray.io", "v1", self.namespace, "rayjobs")

    def create(self) -> bool:
        """Create the job; False: one of that name exists."""
        create = self._api.create_namespaced_custom_object
        return self._call(create, body=self.manifest, unless=409) is not None

    def get(self) -> dict[str, Any] | None:
        """Return the job as the server holds it; None: it is not there."""
        get = self._api.get_namespaced_custom_object
        found: dict[str, Any] | None = self._call(get, name=self.name, unless=404)
        return found

    def delete(self) -> None:
        """Delete the job, and with it what it started; none being there is fine."""
        delete = self._api.delete_namespaced_custom_object
        self._call(delete, name=self.name, propagation_policy="Background", unless=404)

    def wait(self) -> None:
        """Sleep until the next look; `TimeoutError` after the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        time.sleep(min(self.poll_s, left))

    def _call(self, method: Any, *, unless: int, **arguments: Any) -> Any:
        """Return the answer; None where the server answers with the status `unless`."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return method(*self._where, _request_timeout=REQUEST_TIMEOUT_S, **arguments)
        except ApiException as error:
            if error.status == unless:
                return None
            raise _refusal(error.status, _reason(error), self.namespace) from None
        except HTTPError as error:
            raise _refusal(0, str(error), self.namespace) from None


def _connect() -> "CustomObjectsApi":
    """Return a client: of the pod's own service account, or else of the user's kubeconfig."""
    from kubernetes import client, config
    from urllib3.util import Retry

    settings = client.Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=settings)
        else:
            path = os.environ.get("KUBECONFIG")  # kubernetes reads it only once, when imported
            config.load_kube_config(config_file=path, client_configuration=settings)
    except (config.ConfigException, OSError) as error:
        raise ConfigError(
            f"no Kubernetes cluster is configured here: {error}",
            fix="set KUBECONFIG, run inside a pod, or train without a RayJob",
        ) from None
    settings.retries = Retry(
        total=RETRIES,
        backoff_factor=BACKOFF_S,
        backoff_max=LONGEST_BACKOFF_S,
        status_forcelist=RETRIED_STATUS,
        allowed_methods=None,  # all: the job's name makes a repeated POST harmless
        raise_on_status=False,
    )
    return client.CustomObjectsApi(client.ApiClient(settings))


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):  # not from the API server, or from before it
        return str(error.body or error.reason).strip()


def _refusal(status: int, reason: str, namespace: str) -> DamoYoloError:
    if status in {401, 403}:
        return ConfigError(
            f"Kubernetes does not let this step handle RayJobs: {reason}",
            fix="apply infra/k8s/base with the service account of this step in rbac.yaml",
        )
    if status == 404:  # noqa: PLR2004 - an HTTP status
        return ConfigError(
            f"Kubernetes cannot take a RayJob in the namespace {namespace}: {reason}",
            fix="install the KubeRay operator, and make the namespace: apply infra/k8s/base",
        )
    if status in {400, 422}:
        return ConfigError(
            f"Kubernetes refuses the RayJob: {reason}",
            fix="correct the RayJob's configuration; docs/kubernetes.md names the KubeRay version",
        )
    return TrainingError(
        f"the Kubernetes API server does not answer: {reason}",
        fix="run the step again: it finds a job that is still going",
    )


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn the SIGTERM of a terminated pod into SystemExit, so that the job is not left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a handler
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
