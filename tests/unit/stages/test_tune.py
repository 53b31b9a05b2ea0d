from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.recipes.smoke import STUDENT, TWIN
from damo_yolo.stages.tune import tune_detector
from damo_yolo.training.launch import LaunchConfig
from damo_yolo.tuning.sweep import TuneConfig, total_steps
from tests.square_builders import Squares, make_squares


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    return make_squares(tmp_path_factory.mktemp("squares"), images=8)


def tune(squares: Squares, out: Path, config: object = TWIN, **settings: object) -> None:
    launch = settings.pop("launch", None)
    records_uri = str(settings.pop("records_uri", ""))
    assert launch is None or isinstance(launch, LaunchConfig)
    tune_detector(
        shards_uri=squares.shards_uri,
        plan_uri=squares.plan_uri,
        out_uri=str(out),
        config=config,  # type: ignore[arg-type]  # what a caller may get wrong is tested
        records_uri=records_uri,
        tune=TuneConfig.from_mapping(settings),
        launch_config=launch,
    )


def test_a_trial_is_as_long_as_its_schedule(squares: Squares) -> None:
    by_epochs = TWIN.with_overrides(
        ["schedule.max_steps=null", "schedule.epochs=3", "global_batch=4"]
    )

    assert total_steps(TWIN, squares.plan_uri) == 6
    assert total_steps(by_epochs, squares.plan_uri) == 6  # 8 images are 2 steps an epoch


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"space": "sampling"}, "no records are given"),
        ({"space": "nothing.yaml"}, "neither a space nor a file"),
        ({"objective": "rare-ap", "rare_max": 1}, "no class is in 1 training images"),
        (
            {"search": {"scheduler": "pbt"}, "launch": LaunchConfig(num_workers=2)},
            "PBT moves trials between checkpoints",
        ),
        ({"launch": LaunchConfig(num_workers=3)}, "global_batch 8 cannot be cut into 3 workers"),
        ({"space": "sampling", "records_uri": "/nowhere"}, "/nowhere holds no records"),
    ],
)
def test_what_cannot_work_is_said_before_ray_starts(
    squares: Squares, tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        tune(squares, tmp_path, **settings)


def test_a_student_is_not_tuned_without_its_teacher(squares: Squares, tmp_path: Path) -> None:
    from damo_yolo.errors import TrainingError

    with pytest.raises(TrainingError, match="no teacher is given"):
        tune(squares, tmp_path, STUDENT)
