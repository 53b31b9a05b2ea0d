import json
from pathlib import Path

from damo_yolo.tracking import RunInfo, track
from damo_yolo.tuning.tracked import TrackedTrials


def test_a_trial_is_a_run_below_its_sweep_and_ends_as_it_did(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    folder = tmp_path / "trials" / "good"
    folder.mkdir(parents=True)
    epoch = {"kind": "epoch", "step": 13, "time": 1.7e9, "total": 2.0, "ap": 0.25}
    (folder / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
    with track(RunInfo(key="sweep", name="sweep"), uri) as sweep:
        trials = TrackedTrials(uri, sweep.run_id, "sweep", str(tmp_path))

    trials.log("good", {"loss.giou": 2.0})
    trials.log("good", {"loss.giou": 2.0}, figures={"rare_ap": 0.1}, tags={"state": "finished"})
    trials.log("bad", {"loss.giou": 9.0}, tags={"state": "failed"})

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("damo-yolo")
    assert experiment is not None
    runs = client.search_runs(
        [experiment.experiment_id], f"tags.mlflow.parentRunId = '{sweep.run_id}'"
    )
    by_name = {run.info.run_name: run for run in runs}
    assert set(by_name) == {"trial good", "trial bad"}, "a trial that is told twice is one run"
    assert by_name["trial good"].data.metrics == {"total": 2.0, "ap": 0.25, "rare_ap": 0.1}
    assert by_name["trial good"].data.params == {"loss.giou": "2.0"}
    assert by_name["trial good"].info.status == "FINISHED"
    assert by_name["trial bad"].info.status == "FAILED"
