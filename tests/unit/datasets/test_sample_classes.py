import csv
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from damo_yolo.datasets.sample.classes import (
    CLASSES,
    COCO,
    OBJECTS365,
    OPENIMAGES,
    VOCABULARIES,
    DatasetName,
)
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace

CHALLENGE_CLASSES = "openimages_format/challenge-2019-classes-description-500.two-column.csv"
OBJECTS365_RELEASE = "objects365_format/zhiyuan_objv2.excerpt.json"


def test_every_class_has_its_own_id_and_sprite_and_somebody_annotates_it() -> None:
    assert len(CLASSES) >= 24
    assert len({item.unified_id for item in CLASSES}) == len(CLASSES)
    assert len({item.codepoint for item in CLASSES}) == len(CLASSES)
    assert all(item.datasets for item in CLASSES)
    annotated = set(COCO) | set(OBJECTS365) | set(OPENIMAGES)
    assert annotated == {item.unified_id for item in CLASSES}


def test_vocabularies_overlap_and_each_has_a_class_of_its_own() -> None:
    shared = set(COCO) & set(OBJECTS365) & set(OPENIMAGES)
    assert len(shared) == 8
    for name, vocabulary in VOCABULARIES.items():
        others = {i for other, known in VOCABULARIES.items() if other != name for i in known}
        assert set(vocabulary) - others, f"{name} knows nothing that the others do not"
        assert others - set(vocabulary), f"{name} leaves nothing unannotated"


def test_the_two_mice_share_a_name_and_not_a_class() -> None:
    mice = {unified_id: item.mid for unified_id, item in OPENIMAGES.items() if item.name == "Mouse"}
    assert mice == {162: "/m/020lf", 586: "/m/04rmv"}


@pytest.mark.parametrize(
    ("dataset", "mapping"),
    [("coco", "coco"), ("objects365", "objects365_v2"), ("openimages", "openimages_500")],
)
def test_builtin_mappings_lead_every_official_id_to_the_class(
    dataset: DatasetName, mapping: str
) -> None:
    table = LabelMapping.load(mapping, LabelSpace.load("unified_701"))
    for unified_id, entry in VOCABULARIES[dataset].items():
        assert table.unified_id(_source_id(entry)) == unified_id


def test_names_are_those_of_the_label_space() -> None:
    space = LabelSpace.load("unified_701")
    assert [space.names[item.unified_id] for item in CLASSES] == [item.name for item in CLASSES]


def test_ids_names_and_ancestors_are_the_official_ones(facts_dir: Path) -> None:
    with (facts_dir / "label_space_701.csv").open(newline="") as file:
        rows = {int(row["unified_id"]): row for row in csv.DictReader(file)}
    for unified_id, category in COCO.items():
        row = rows[unified_id]
        assert (row["coco_id"], row["coco_name"]) == (str(category.id), category.name)
    for unified_id, named in OPENIMAGES.items():
        row = rows[unified_id]
        assert row["oid_mid"] == named.mid
        assert set(row["oid_ancestor_mids"].split()) == set(named.ancestors.split())


def test_objects365_spellings_are_those_of_the_release(shared_data_dir: Path) -> None:
    release = json.loads((shared_data_dir / OBJECTS365_RELEASE).read_text())
    names = {item["id"]: item["name"] for item in release["categories"]}
    assert {item.id: item.name for item in OBJECTS365.values()}.items() <= names.items()
    assert {"Bakset", "Ballon", "Formula 1 ", "Moniter/TV", "Mushroon"} <= {
        item.name for item in OBJECTS365.values()
    }


def test_open_images_names_are_those_of_the_challenge(shared_data_dir: Path) -> None:
    with (shared_data_dir / CHALLENGE_CLASSES).open(newline="") as file:
        names = dict(csv.reader(file))
    assert {item.mid: item.name for item in OPENIMAGES.values()}.items() <= names.items()


def _source_id(entry: NamedTuple) -> str:
    return str(entry[0])
