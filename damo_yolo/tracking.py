"""MLflow run of a training: parameters, metrics, files, and the data it saw.

Only the stage's own process talks to MLflow; workers write `metrics.jsonl` and nothing else. A run
is found again by its key, and points already logged are not logged twice, so a repeated stage adds
to the run of the first attempt. The only module besides `registry` that imports mlflow.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from damo_yolo.errors import DamoYoloError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

logger = logging.getLogger(__name__)

EXPERIMENT = "damo-yolo"
SQLITE = "sqlite:///"
RUN_KEY_TAG = "damo_yolo.run_key"
LAST_STEP_TAG = "damo_yolo.last_step"
BATCH_SIZE = 900
"""Metrics in one request; MLflow refuses more than 1000."""
MAX_PARAM_LENGTH = 6000
DIGEST_LENGTH = 36
"""Characters that MLflow keeps of a digest."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What identifies a run before it starts."""

    key: str
    """Same key, same run: a retry continues it."""
    name: str
    experiment: str = EXPERIMENT
    params: Mapping[str, Any] = field(default_factory=dict)
    """Nested mappings become dotted names."""
    tags: Mapping[str, str] = field(default_factory=dict)
    data_uri: str = ""
    """Manifest of the training data."""
    data_sha256: str = ""


class TrackedRun:
    """An open run; without a tracking location every call does nothing."""

    def __init__(self, client: "MlflowClient | None" = None, run_id: str = "") -> None:
        """Hold the client and the run's id; both empty when nothing is tracked."""
        self._client = client
        self.run_id = run_id
        self.status = "FINISHED"
        self._last_steps: dict[str, int] = {}
        self._waiting: list[Mapping[str, Any]] = []

    def log_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Log the numbers of records that carry a `step` beyond those already logged.

        What MLflow does not take is kept and sent with the next records, or when the run ends: a
        tracker that is away for a while stops no training.

        Args:
            records: in order of `step`; text, booleans and nested values are left out.
        """
        if self._client is None:
            return
        from mlflow.exceptions import MlflowException

        self._waiting += [
            record for record in records if record["step"] > self._last_step(_tag(record))
        ]
        try:
            self.send()
        except MlflowException as error:
            logger.warning("MLflow took no metrics, will try again: %s", error)

    def send(self) -> None:
        """Send the records that wait.

        Raises:
            MlflowException: MLflow does not take them.
        """
        if self._client is None or not self._waiting:
            return
        metrics = [metric for record in self._waiting for metric in _metrics(record)]
        for start in range(0, len(metrics), BATCH_SIZE):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + BATCH_SIZE])
        for tag, step in {_tag(record): int(record["step"]) for record in self._waiting}.items():
            self._last_steps[tag] = step
            self._client.set_tag(self.run_id, tag, str(step))
        self._waiting = []

    def fail(self) -> None:
        """Let the run end as FAILED, of which the process that logs it only hears."""
        self.status = "FAILED"

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        for name, value in tags.items():
            if self._client is not None:
                self._client.set_tag(self.run_id, name, value)

    def log_text(self, text: str, name: str) -> None:
        """Keep a small text file with the run."""
        if self._client is not None:
            self._client.log_text(self.run_id, text, name)

    def _last_step(self, tag: str) -> int:
        """Return the last step logged of the records that share a tag."""
        if tag not in self._last_steps and self._client is not None:
            tags = self._client.get_run(self.run_id).data.tags
            self._last_steps[tag] = int(tags.get(tag, -1))
        return self._last_steps.get(tag, -1)


def _tag(record: Mapping[str, Any]) -> str:
    """Return the tag that remembers how far records of this kind were logged."""
    kind = record.get("kind", "step")
    return LAST_STEP_TAG if kind == "step" else f"{LAST_STEP_TAG}.{kind}"


@contextmanager
def track(info: RunInfo, tracking_uri: str) -> Iterator[TrackedRun]:
    """Open the run of a training, or continue it; it ends as FINISHED or FAILED with the block.

    Args:
        info: key, name, parameters and data of the run.
        tracking_uri: MLflow server or `sqlite:///path/mlflow.db`, made when absent; "" tracks
            nothing.

    Raises:
        DamoYoloError: MLflow refuses or does not answer.
    """
    if not tracking_uri:
        yield TrackedRun()
        return
    client = _open_client(tracking_uri)
    run = TrackedRun(client, _find_or_create(client, info))
    try:
        yield run
    except BaseException:
        client.set_terminated(run.run_id, status="FAILED")
        raise
    with _explained(tracking_uri):
        run.send()
        client.set_terminated(run.run_id, status=run.status)


def default_tracking_uri(workspace: str) -> str:
    """Return the SQLite location of a workspace folder on this machine."""
    return f"{SQLITE}{workspace.rstrip('/')}/mlflow.db"


def _open_client(tracking_uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("alembic", "mlflow.store.db.utils"):  # a fresh database tells every migration
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    with _explained(tracking_uri):
        client = MlflowClient(tracking_uri=tracking_uri)
        client.search_experiments(max_results=1)  # migrates a fresh database, here and only here
    return client


@contextmanager
def _explained(tracking_uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise DamoYoloError(
            f"MLflow at {tracking_uri} does not answer: {error}",
            fix="correct the tracking location, or leave it empty to track nothing",
        ) from None


def _metrics(record: Mapping[str, Any]) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    time_ms = int(record.get("time", 0) * 1000)
    for name, value in record.items():
        if name not in {"step", "time"} and type(value) in {int, float}:
            yield Metric(name, float(value), time_ms, int(record["step"]))


def _find_or_create(client: "MlflowClient", info: RunInfo) -> str:
    experiment = experiment_id(client, info.experiment)
    runs = client.search_runs([experiment], f"tags.`{RUN_KEY_TAG}` = '{info.key}'", max_results=1)
    if runs:
        client.update_run(runs[0].info.run_id, status="RUNNING")
        return str(runs[0].info.run_id)
    tags = {RUN_KEY_TAG: info.key, **info.tags}
    run_id = str(client.create_run(experiment, run_name=info.name, tags=tags).info.run_id)
    _log_params(client, run_id, info.params)
    if info.data_uri:
        _log_data(client, run_id, info)
    return run_id


def experiment_id(client: "MlflowClient", name: str = EXPERIMENT) -> str:
    """Return the id of an experiment, made when it does not exist.

    With an SQLite store, files go beside the database; MLflow's own choice is the folder that the
    process happens to run in.
    """
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    uri = client.tracking_uri
    folder = Path(uri.removeprefix(SQLITE)).parent / "mlflow-artifacts"
    location = str(folder.absolute()) if uri.startswith(SQLITE) else None
    return str(client.create_experiment(name, artifact_location=location))


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = flatten(params)
    listed = [Param(name, str(value)[:MAX_PARAM_LENGTH]) for name, value in flat.items()]
    for start in range(0, len(listed), 100):
        client.log_batch(run_id, params=listed[start : start + 100])


def _log_data(client: "MlflowClient", run_id: str, info: RunInfo) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name="shards",
        digest=info.data_sha256[:DIGEST_LENGTH],
        source_type="s3" if info.data_uri.startswith("s3://") else "local",
        source=json.dumps({"uri": info.data_uri}),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into dotted names.

    >>> flatten({"optimizer": {"kind": "sgd"}, "seed": 0})
    {'optimizer.kind': 'sgd', 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
