from pathlib import Path

import pytest

from damo_yolo.errors import ConfigError
from damo_yolo.recipes.chain import plan_chain
from damo_yolo.recipes.choose import load_config, recipe_names
from damo_yolo.recipes.students import STUDENTS
from damo_yolo.recipes.teachers import TEACHERS


def test_each_model_of_a_chain_is_taught_by_the_one_before() -> None:
    links = plan_chain(["damo-yolo-l", "damo-yolo-m", "damo-yolo-s"], "published")

    assert [link.name for link in links] == ["1-damo-yolo-l", "2-damo-yolo-m", "3-damo-yolo-s"]
    assert [link.teacher for link in links] == ["", "1-damo-yolo-l", "2-damo-yolo-m"]
    assert links[0].config == TEACHERS["damo-yolo-l"]
    assert links[2].config == STUDENTS["damo-yolo-s"]


def test_a_size_may_teach_its_own_kind() -> None:
    first, second = plan_chain(["damo-yolo-l", "damo-yolo-l"], "published")

    assert (first.name, second.teacher) == ("1-damo-yolo-l", "1-damo-yolo-l")
    assert second.config.distill is not None


def test_a_shared_file_serves_all_sizes_and_overrides_reach_each(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(load_config("sample/twin").to_yaml())

    links = plan_chain(["damo-yolo-nm", "damo-yolo-ns"], str(path), ["schedule.max_steps=7"])

    assert [link.config.model for link in links] == ["damo-yolo-nm", "damo-yolo-ns"]
    assert [link.config.schedule.max_steps for link in links] == [7, 7]
    assert links[0].config.distill is None
    assert links[1].config.distill is not None
    assert links[1].config.optimizer.clip_norm == 30.0


@pytest.mark.parametrize("models", [["damo-yolo-l"], ["damo-yolo-l", "yolo"]])
def test_a_chain_of_one_or_of_strangers_is_refused(models: list[str]) -> None:
    with pytest.raises(ConfigError, match="no chain goes through"):
        plan_chain(models, "published")


def test_every_listed_recipe_is_printed_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    for name in recipe_names():
        config = load_config(name)
        path.write_text(config.to_yaml())
        assert load_config(str(path)) == config


def test_a_name_that_is_no_recipe_lists_them() -> None:
    with pytest.raises(ConfigError, match="neither a recipe nor a file") as caught:
        load_config("damo-yolo-xl")

    assert "damo-yolo-s/student" in caught.value.fix
