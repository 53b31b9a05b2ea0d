from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.recipes.choose import load_config
from damo_yolo.tuning.space import SHIPPED, Space, apply, load_space, overrides

STUDENT = load_config("sample/student")


def space_of(name: str, **parameter: object) -> Space:
    return Space.from_mapping({"parameters": {name: parameter}})


FITTING = [(name, "sample/student") for name in SHIPPED] + [
    (name, recipe)
    for name in ("loss-weights", "sampling", "distillation", "optimizer")
    for recipe in ("damo-yolo-s/student", "damo-yolo-nm/student")
]


@pytest.mark.parametrize(("name", "recipe"), FITTING)
def test_every_shipped_space_fits_the_recipes(name: str, recipe: str) -> None:
    space, config = load_space(name), load_config(recipe)

    space.check_corners(config)

    assert space.about
    for key, value in space.default_point(config).items():
        assert space.parameters[key].holds(value)


def test_the_loss_weights_start_from_the_published_ones() -> None:
    point = load_space("loss-weights").default_point(STUDENT)

    assert point == {"loss.qfl": 1.0, "loss.giou": 2.0, "loss.dfl": 0.25}


def test_a_recipe_with_weights_of_its_own_is_a_point_as_well() -> None:
    space = load_space("loss-weights")

    own = space.recipe_point(STUDENT.with_overrides(["loss.giou=4.0"]))

    assert own == {"loss.qfl": 1.0, "loss.giou": 4.0, "loss.dfl": 0.25}
    assert space.recipe_point(STUDENT) is None


def test_without_a_default_the_recipe_says_where_to_start() -> None:
    point = load_space("optimizer").default_point(STUDENT)

    assert point["optimizer.lr_per_image"] == 3e-3 / 8


def test_a_point_becomes_a_training_and_a_sampling() -> None:
    values = {"loss.dfl": 0.5, "balance.size_power": 0.25, "model": "damo-yolo-nm"}

    config, balance = apply(STUDENT, values)

    assert (config.loss.dfl, config.model, balance.size_power) == (0.5, "damo-yolo-nm", 0.25)
    assert config.loss.giou == STUDENT.loss.giou


def test_overrides_read_back_to_the_same_values() -> None:
    values = {"loss.dfl": 1e-05, "optimizer.clip_norm": None, "schedule.mosaic": True}

    config = STUDENT.with_overrides(overrides(values))

    assert (config.loss.dfl, config.optimizer.clip_norm) == (1e-05, None)
    assert config.schedule.mosaic is True


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (space_of("loss.alpha", uniform=[0, 1]), "'loss.alpha', which is no setting"),
        (space_of("loss.qfl.x", uniform=[0, 1]), "'loss.qfl.x', which is no setting"),
        (space_of("balance.power", uniform=[0, 1]), "'balance.power', which is no setting"),
        (space_of("loss.qfl", log=[2, 4]), "loss.qfl = 1.0, its default, is not 2 to 4, log scale"),
        (space_of("loss.qfl", uniform=[-1, 1]), "loss.qfl"),
        (space_of("model", choice=["damo-yolo-x", "damo-yolo-ns"], default="x"), "model = x"),
    ],
)
def test_a_space_that_cannot_work_is_refused_before_any_trial(space: Space, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        space.check_corners(STUDENT)

    assert words in error.value.problem


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("{uniform: [0, 1], log: [1, 2]}", "exactly one"),
        ("{default: 1}", "exactly one"),
        ("{uniform: [2, 1]}", "not below"),
        ("{log: [0, 1]}", "positive"),
    ],
)
def test_a_parameter_has_one_kind_and_ordered_bounds(
    tmp_path: Path, parameter: str, words: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"parameters:\n  loss.qfl: {parameter}\n")

    with pytest.raises(ConfigError, match=words):
        load_space(str(file))


def test_the_example_of_the_guide_works(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "tuning.md").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(guide.partition("```yaml\n")[2].partition("```")[0])

    space = load_space(str(file))

    space.check_corners(load_config("sample/twin"))
    assert space.samples_differently


def test_an_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        load_space("weights")

    assert "loss-weights" in error.value.fix
