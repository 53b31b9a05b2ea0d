from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.models.zoo import MODEL_NAMES
from damo_yolo.recipes.chain import plan_chain
from damo_yolo.recipes.choose import choose_recipe, load_config
from damo_yolo.recipes.students import STUDENTS, TEACHER_OF
from damo_yolo.recipes.teachers import TEACHERS
from damo_yolo.training.config import TrainConfig


def test_every_size_has_a_published_recipe_and_a_teacher() -> None:
    assert set(TEACHERS) == set(STUDENTS) == set(TEACHER_OF) == set(MODEL_NAMES)


@pytest.mark.parametrize(
    ("model", "kind", "highest_rate", "image_size"),
    [
        ("damo-yolo-t", "sgd", 0.04, 640),
        ("damo-yolo-l", "sgd", 0.04, 640),
        ("damo-yolo-ns", "adamw", 0.004, 416),
    ],
)
def test_published_rates_are_those_of_batch_256(
    model: str, kind: str, highest_rate: float, image_size: int
) -> None:
    config = TEACHERS[model]

    assert config.optimizer.kind == kind
    assert config.optimizer.lr_per_image * config.global_batch == pytest.approx(highest_rate)
    assert config.image_size == image_size
    assert config.distill is None
    assert config.optimizer.clip_norm is None


def test_published_augmentation_differs_by_size() -> None:
    shears = {model: config.augment.shear_deg for model, config in TEACHERS.items()}

    assert shears["damo-yolo-s"] == 2.0
    assert shears["damo-yolo-t"] == shears["damo-yolo-nl"] == 0.2
    assert TEACHERS["damo-yolo-ns"].augment.mosaic_scale == (0.75, 1.25)
    assert TEACHERS["damo-yolo-nm"].augment.mosaic_scale == (0.1, 2.0)


def test_students_clip_and_distil() -> None:
    for config in STUDENTS.values():
        assert config.distill is not None
        assert config.optimizer.clip_norm == 30.0


@pytest.mark.parametrize("recipe", ["sample", "smoke"])
def test_a_twin_is_its_student_without_a_teacher(recipe: str) -> None:
    twin, student = (choose_recipe(recipe, role=role) for role in ("twin", "student"))

    without = {"distill": None, "optimizer": twin.optimizer}
    assert student.distill is not None
    assert student.model_copy(update=without) == twin


def test_a_searched_detector_stands_where_a_size_can() -> None:
    config = choose_recipe("sample", role="student", model="found/best.json")
    links = plan_chain(["damo-yolo-nm", "found/best.json"], "sample")

    assert config.model == links[1].config.model == "found/best.json"
    assert links[1].name == "2-best"
    with pytest.raises(ConfigError, match="nobody published a recipe for found"):
        choose_recipe("published", role="student", model="found/best.json")


def test_a_choice_overrides_size_length_input_and_seed() -> None:
    config = choose_recipe(
        "sample", role="teacher", model="damo-yolo-nl", epochs=3, image_size=96, seed=7
    )

    assert (config.model, config.image_size, config.seed) == ("damo-yolo-nl", 96, 7)
    assert (config.schedule.epochs, config.schedule.max_steps) == (3, None)


@pytest.mark.parametrize(
    ("choice", "problem"),
    [
        ({"recipe": "fast", "role": "teacher"}, "no recipe is called 'fast'"),
        ({"recipe": "sample", "role": "pupil"}, "no role is called 'pupil'"),
        ({"recipe": "sample", "role": "twin", "model": "yolo"}, "no detector is called 'yolo'"),
        ({"recipe": "published", "role": "twin"}, "for a model without a name"),
    ],
)
def test_a_wrong_choice_is_named(choice: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        choose_recipe(**choice)  # type: ignore[arg-type]  # the texts are all of them texts


def test_a_configuration_is_read_from_yaml_or_by_the_name_of_a_recipe(tmp_path: Path) -> None:
    config = choose_recipe("smoke", role="student")
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())

    assert load_config(str(path)) == config
    assert load_config("smoke/student") == config


def test_a_batch_that_has_no_whole_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a multiple of accumulation"):
        TrainConfig.from_mapping({"model": "damo-yolo-t", "global_batch": 8, "accumulation": 3})
