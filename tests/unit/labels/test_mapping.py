"""Label mappings: the builtin tables against the facts, and errors about broken tables."""

import csv
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace

ORANGE, TANGERINE = 39, 171


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return LabelSpace.load("unified_701")


@pytest.mark.parametrize(
    ("mapping", "id_column", "count"),
    [
        ("coco", "coco_id", 80),
        ("objects365_v1", "o365v1_id", 365),
        ("openimages_500", "oid_mid", 500),
    ],
)
def test_every_source_class_leads_where_the_fact_table_says(
    facts_dir: Path, space: LabelSpace, mapping: str, id_column: str, count: int
) -> None:
    with (facts_dir / "label_space_701.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[id_column]]
    table = LabelMapping.load(mapping, space)

    assert len(rows) == len(table.targets) == count
    for row in rows:
        assert table.unified_id(row[id_column]) == int(row["unified_id"])


def test_the_second_objects365_leads_where_the_fact_table_says(
    facts_dir: Path, space: LabelSpace
) -> None:
    with (facts_dir / "label_space_701.csv").open(newline="") as file:
        facts = {r["o365v2_id"]: int(r["unified_id"]) for r in csv.DictReader(file)}
    with (facts_dir / "objects365_v1_v2.csv").open(newline="") as file:
        v2_only = {r["v2_id"] for r in csv.DictReader(file) if r["match"] == "v2_only"}
    table = LabelMapping.load("objects365_v2", space)
    found = {key: table.unified_id(key) for key in table.targets if key != "105"}

    assert len(table.targets) == 365
    assert len(v2_only) == 22
    assert found == {
        str(key): None if str(key) in v2_only else facts[str(key)]
        for key in range(1, 366)
        if key != 105
    }


def test_orange_or_tangerine_is_an_orange_and_leaves_the_tangerine_unknown(
    space: LabelSpace,
) -> None:
    table = LabelMapping.load("objects365_v2", space)

    assert table.unified_id("105") == ORANGE
    assert table.also_unknown("105") == (TANGERINE,)
    assert TANGERINE not in table.known_ids


def test_the_orange_of_coco_is_not_the_orange_of_openimages(space: LabelSpace) -> None:
    assert LabelMapping.load("coco", space).unified_id("55") == TANGERINE
    assert LabelMapping.load("openimages_500", space).unified_id("/m/0cyhj_") == ORANGE


def test_the_openimages_mice_are_two_classes(space: LabelSpace) -> None:
    table = LabelMapping.load("openimages_500", space)

    assert table.unified_id("/m/020lf") == 162  # computer mouse
    assert table.unified_id("/m/04rmv") == 586  # the animal


def test_the_601_classes_hold_the_500_and_drop_the_rest(space: LabelSpace) -> None:
    small = LabelMapping.load("openimages_500", space)
    large = LabelMapping.load("openimages_601", space)
    extra = [key for key in large.targets if key not in small.targets]

    assert len(large.targets) == 601
    assert len(extra) == 101
    assert all(large.unified_id(key) is None for key in extra)
    assert all(large.targets[key] == target for key, target in small.targets.items())


def test_a_car_leaves_vehicle_unknown(space: LabelSpace) -> None:
    table = LabelMapping.load("openimages_500", space)
    vehicle, land_vehicle = table.unified_id("/m/07yv9"), table.unified_id("/m/01prls")

    assert {vehicle, land_vehicle} == set(table.also_unknown("/m/0k4j"))


def test_the_identity_takes_ids_slugs_and_names(space: LabelSpace) -> None:
    table = LabelMapping.load("unified", space)

    assert table.unified_id("586") == 586
    assert table.unified_id("mouse_rodent") == 586
    assert table.unified_id("mouse (rodent)") == 586
    assert len(table.known_ids) == 701


def test_blanks_around_ids_do_not_matter(tmp_path: Path, space: LabelSpace) -> None:
    file = tmp_path / "map.csv"
    file.write_text("source_id,source_name,unified_id,also_unknown\ntissue ,tissue, 249 ,1; 2\n")
    table = LabelMapping.load(str(file), space)

    assert table.unified_id(" tissue") == 249
    assert table.also_unknown("tissue ") == (1, 2)
    assert table.unmapped({"tissue ": "tissue "}) == {}


def test_unmapped_classes_are_counted_named_and_lead_to_the_file(
    tmp_path: Path, space: LabelSpace
) -> None:
    file = tmp_path / "map.csv"
    file.write_text("source_id,source_name,unified_id\n1,cat,0\n")
    table = LabelMapping.load(str(file), space)

    with pytest.raises(DataError) as caught:
        table.require({"1": "cat", "7": "Bat", "Mouse": "Mouse"}, dataset="openimages")

    assert caught.value.problem == (
        "dataset 'openimages': 2 classes are not in the label mapping, first: Bat (7), Mouse"
    )
    assert str(file) in caught.value.fix
    assert "ignore" in caught.value.fix


def test_other_spellings_pass_and_other_things_do_not(tmp_path: Path, space: LabelSpace) -> None:
    file = tmp_path / "map.csv"
    file.write_text("source_id,source_name,unified_id\n1,Hot-Air Balloon,0\n2,slippers,1\n3,,2\n")
    table = LabelMapping.load(str(file), space)

    assert not table.misnamed({"1": "balloon", "2": " Slipper", "3": "cat", "9": "unmapped"})
    assert table.misnamed({"1": "cat", "2": "slippers"}) == {"1": ("cat", "Hot-Air Balloon")}


def test_one_release_of_objects365_is_told_from_the_other(
    facts_dir: Path, space: LabelSpace
) -> None:
    with (facts_dir / "objects365_v1_v2.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    v1 = {row["v1_id"]: row["v1_name"] for row in rows if row["v1_id"]}
    v2 = {row["v2_id"]: row["v2_name_official"] for row in rows if row["v2_id"]}
    other = {row["v2_id"]: row["v2_name_ultralytics_spelling"] for row in rows if row["v2_id"]}
    tables = {name: LabelMapping.load(f"objects365_{name}", space) for name in ("v1", "v2")}

    assert len(v1) == len(v2) == len(other) == 365
    assert not tables["v1"].misnamed(v1)
    assert not tables["v2"].misnamed(v2)
    assert not tables["v2"].misnamed(other)
    assert len(tables["v2"].misnamed(v1)) > 300
    assert len(tables["v1"].misnamed(v2)) > 300


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("9,owl,701", "unified id '701' is not in the label space"),
        ("9,owl,owl", "unified id 'owl' is not in the label space"),
        ("9,owl,", "unified id '' is not in the label space"),
        ("9,owl,-1", "unified id '-1' is not in the label space"),
        ("1,owl,3", "repeats source_id '1'"),
        (",owl,3", "has no source_id"),
    ],
)
def test_a_broken_mapping_is_named_with_its_line(
    tmp_path: Path, space: LabelSpace, line: str, problem: str
) -> None:
    file = tmp_path / "map.csv"
    file.write_text(f"source_id,source_name,unified_id\n1,cat,0\n{line}\n")

    with pytest.raises(DataError) as caught:
        LabelMapping.load(str(file), space)

    assert problem in caught.value.problem
    assert "line 3" in caught.value.problem
