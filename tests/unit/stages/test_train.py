"""A training is known by what it is made of."""

from pathlib import Path

import pytest

from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.zoo import detector_config
from damo_yolo.recipes.smoke import TWIN
from damo_yolo.stages.train import describe_job
from damo_yolo.training.run import TrainJob
from tests.square_builders import Squares, make_squares


def test_a_training_is_known_by_what_its_detector_file_holds_not_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = make_squares(tmp_path, global_batch=8)
    monkeypatch.chdir(tmp_path)
    shipped = detector_config("damo-yolo-ns")
    write(shipped, "one.json")
    write(shipped, "two.json")
    first, second = job(squares, "one.json"), job(squares, "two.json")

    write(shipped.model_copy(update={"activation": "relu"}), "two.json")
    changed = job(squares, "two.json")

    assert first.run_key == second.run_key != changed.run_key
    assert first.config.model == str(tmp_path / "one.json")  # as workers elsewhere find it


def write(detector: DetectorConfig, name: str) -> None:
    Path(name).write_text(detector.model_dump_json(exclude_none=True))


def job(squares: Squares, model: str) -> TrainJob:
    return describe_job(
        TWIN.model_copy(update={"model": model}),
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        out_uri="out",
        teacher_uri="",
        init_uri="",
    )
