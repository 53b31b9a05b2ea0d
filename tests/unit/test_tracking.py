from pathlib import Path
from typing import Any

import pytest

from damo_yolo.errors import DamoYoloError
from damo_yolo.tracking import RunInfo, flatten, track


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests: making it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def _client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def test_without_a_location_nothing_is_tracked() -> None:
    with track(RunInfo(key="k", name="n"), "") as run:
        run.log_metrics([{"step": 1, "loss": 2.0}])

    assert run.run_id == ""


def test_a_run_keeps_parameters_metrics_and_data(tracking_uri: str) -> None:
    info = RunInfo(
        key="first",
        name="student",
        params={"model": "damo-yolo-ns", "optimizer": {"kind": "sgd"}},
        tags={"teacher": "there"},
        data_uri="/shards/manifest.json",
        data_sha256="ab" * 32,
    )

    with track(info, tracking_uri) as run:
        run.log_metrics([{"step": 20, "kind": "step", "total": 2.5, "time": 1700000000.5}])

    found = _client(tracking_uri).get_run(run.run_id)
    assert found.info.run_name == "student"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"model": "damo-yolo-ns", "optimizer.kind": "sgd"}
    assert found.data.metrics == {"total": 2.5}
    assert found.inputs.dataset_inputs[0].dataset.digest == "ab" * 18


def test_a_repeated_run_continues_and_logs_no_point_twice(tracking_uri: str) -> None:
    records = [{"step": step, "total": float(step)} for step in (10, 20, 30)]
    with track(RunInfo(key="again", name="n"), tracking_uri) as first:
        first.log_metrics(records[:2])

    with track(RunInfo(key="again", name="n"), tracking_uri) as run:
        run.log_metrics(records)

    assert run.run_id == first.run_id
    history = _client(tracking_uri).get_metric_history(run.run_id, "total")
    assert [(point.step, point.value) for point in history] == [(10, 10.0), (20, 20.0), (30, 30.0)]


def test_metrics_that_mlflow_does_not_take_are_sent_later(
    tracking_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    take = MlflowClient.log_batch
    answers = iter([True, False, True])

    def sometimes(client: Any, *args: Any, **kwargs: Any) -> Any:
        if not next(answers):
            raise MlflowException("away")
        return take(client, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", sometimes)
    with track(RunInfo(key="away", name="n"), tracking_uri) as run:
        for step in (1, 2):
            run.log_metrics([{"step": step, "total": float(step)}])

    history = _client(tracking_uri).get_metric_history(run.run_id, "total")
    assert [point.step for point in history] == [1, 2]


def test_a_run_that_fails_says_so(tracking_uri: str) -> None:
    with pytest.raises(KeyError), track(RunInfo(key="bad", name="n"), tracking_uri) as run:
        raise KeyError

    assert _client(tracking_uri).get_run(run.run_id).info.status == "FAILED"


def test_an_unusable_location_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"

    with (
        pytest.raises(DamoYoloError, match="does not answer"),
        track(RunInfo(key="k", name="n"), uri),
    ):
        pass


def test_nested_settings_become_dotted_names() -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": None}) == {"a.b.c": 1, "d": None}
