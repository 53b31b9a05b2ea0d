"""The label space: order, names, checksum, and errors about broken tables."""

import csv
import hashlib
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace


def test_the_builtin_space_has_701_classes_with_names_and_slugs_of_their_own() -> None:
    space = LabelSpace.load("unified_701")

    assert len(space) == 701
    assert len(set(space.names)) == 701
    assert len(set(space.slugs)) == 701
    assert space.names[0] == "bottle"


def test_the_builtin_space_keeps_the_two_mice_apart() -> None:
    space = LabelSpace.load("unified_701")

    assert space.names.index("computer mouse") == 162
    assert space.names.index("mouse (rodent)") == 586


def test_the_builtin_space_is_the_fact_table(facts_dir: Path) -> None:
    with (facts_dir / "label_space_701.csv").open(newline="") as file:
        facts = list(csv.DictReader(file))
    space = LabelSpace.load("unified_701")

    assert list(space.names) == [row["display_name"] for row in facts]
    assert list(space.slugs) == [row["slug"] for row in facts]
    assert list(space.datasets) == [row["datasets"] for row in facts]


def test_a_space_written_and_read_again_is_equal_and_so_is_its_checksum(tmp_path: Path) -> None:
    space = LabelSpace.of_names(["cell, red", "cell, white"])
    file = tmp_path / "cells.csv"
    file.write_text(space.to_csv())

    again = LabelSpace.load(str(file))

    assert again == space
    assert again.slugs == ("cell_red", "cell_white")
    assert again.sha256 == space.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_other_names_give_another_checksum() -> None:
    assert LabelSpace.of_names(["cat"]).sha256 != LabelSpace.of_names(["dog"]).sha256


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,name\n0,cat\n", "lacks the columns unified_id"),
        ("unified_id,name\n0,cat\n2,dog\n", "line 3 has unified_id '2', not 1"),
        ("unified_id,name\n0,cat\n1,cat\n", "class 1 repeats the name 'cat'"),
        ("unified_id,name\n0,a b\n1,a-b\n", "class 1 repeats the slug 'a_b'"),
        ("unified_id,name\n0, \n", "class 0 has no name"),
    ],
)
def test_a_broken_space_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "space.csv"
    file.write_text(text)

    with pytest.raises(DataError) as caught:
        LabelSpace.load(str(file))

    assert problem in caught.value.problem


def test_an_unknown_builtin_names_those_that_exist() -> None:
    with pytest.raises(DataError) as caught:
        LabelSpace.load("unified_702")

    assert "unified_701" in caught.value.fix


def test_names_of_any_alphabet_have_a_slug_of_their_own() -> None:
    space = LabelSpace.of_names(["猫", "кот", "Bär", "🐕", "o'o"])

    assert space.slugs == ("u732b", "u43a_u43e_u442", "bar", "u1f415", "o_o")
