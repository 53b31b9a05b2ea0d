"""Where a training runs: a RayJob gets the command line that anybody could type."""

from typing import Any

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.recipes.choose import choose_recipe
from damo_yolo.training import launch as launch_module
from damo_yolo.training.launch import launch, launch_config
from damo_yolo.training.run import TrainJob

RAYJOB = "image: registry.example.com/damo-yolo:0.1.0\nnum_workers: 2\ngpus: 4\n"


def make_job(out_uri: str) -> TrainJob:
    return TrainJob(
        config=choose_recipe("smoke", role="student"),
        shards_uri="s3://bucket/shards",
        plan_uri="s3://bucket/plan",
        out_uri=out_uri,
        teacher_uri="s3://bucket/teacher",
        run_key="0123456789abcdef0123",
    )


def test_a_rayjob_runs_the_train_verb_with_a_rank_for_every_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submitted: list[dict[str, Any]] = []
    monkeypatch.setattr(
        launch_module, "run_rayjob", lambda manifest, **_: submitted.append(manifest)
    )

    launch(make_job("s3://bucket/student"), launch_config(num_workers=1, rayjob=RAYJOB))

    (manifest,) = submitted
    command = manifest["spec"]["entrypoint"]
    assert manifest["metadata"]["name"] == "train-0123456789abcdef"
    for part in (
        "damo-yolo train --config s3://bucket/student/config.yaml",
        "--teacher s3://bucket/teacher",
        "--workers 8",
        "--tracking-uri ''",
        "--gpu",
    ):
        assert part in command


def test_a_rayjob_cannot_train_into_a_folder_of_this_machine() -> None:
    with pytest.raises(ConfigError, match="cannot train into /tmp/student"):
        launch(make_job("/tmp/student"), launch_config(rayjob=RAYJOB))
