"""The tuning step: what it hands to the training, and the pipeline that is built around it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.tune import tune_detector
from damo_yolo.stages import tune as stage
from tests.pipeline_runs import Run, run_pipeline

STEP: dict[str, Any] = {
    "shards_uri": "shards",
    "plan_uri": "plan",
    "space": "loss-weights",
    "trials": 4,
    "steps": 30,
    "seeds": 2,
    "model": "",
    "recipe": "smoke",
    "epochs": 0,
    "image_size": 0,
    "seed": 7,
    "tracking_uri": "",
    "code_version": "1",
}


def test_no_trials_change_nothing(tmp_path: Path) -> None:
    values = {**STEP, "trials": 0, "workspace": str(tmp_path)}

    assert tune_detector.python_func(**values) == ("", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("proven", "text"),
    [([], ""), (["loss.giou=4.0", "loss.dfl=0.5"], "loss.giou=4.0 loss.dfl=0.5")],
)
def test_only_what_is_proven_goes_into_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proven: list[str], text: str
) -> None:
    seen: dict[str, Any] = {}

    def sweep(**values: Any) -> SimpleNamespace:
        seen.update(values)
        return SimpleNamespace(overrides=proven)

    monkeypatch.setattr(stage, "tune_detector", sweep)

    overrides, uri = tune_detector.python_func(**STEP, workspace=str(tmp_path))

    assert overrides == text
    assert uri == seen["out_uri"]
    assert uri.startswith(str(tmp_path / "sweep-"))
    assert (seen["config"].seed, seen["config"].schedule.max_steps) == (7, 30)
    assert seen["config"].distill is None, "a sweep before the student has no teacher"
    assert (seen["tune"].seeds, seen["tune"].search.trials, seen["tune"].search.seed) == (2, 4, 7)


@pytest.mark.slow
def test_the_pipeline_tunes_trains_and_registers_a_challenger(tmp_path: Path) -> None:
    settings = ("recipe=smoke", "trials=2", "steps=4", "seeds=1", "workers=0")

    first = run_pipeline(tmp_path, *settings, file="loss_weights.py")
    second = run_pipeline(tmp_path, *settings, file="loss_weights.py", ray=False)

    assert first.code == 0, first.stderr + first.stdout[-2000:]
    assert second.code == 0, second.stderr
    assert (first.summary["version"], first.summary["alias"]) == (1, "challenger")
    assert registered_alias(first) == "1"
    page = Path(first.summary["report_uri"]).read_text()
    assert 'id="tuning"' in page
    assert "to beat the default" in page or "beats the default" in page or "is beaten" in page
    for step in ("tune-detector", "train with the answer", "register-model"):
        assert f"{step} reused" in second.stdout
    assert len(list(tmp_path.glob("sweep-*/sweep.json"))) == 1


def registered_alias(run: Run) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=run.tracking_uri, registry_uri=run.tracking_uri)
    return str(client.get_model_version_by_alias("general-class", "challenger").version)
