"""COCO-format JSON: what it may lack, what it must have, and the quirks of Objects365."""

import json
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.datasets.catalog import load_catalog
from damo_yolo.datasets.source import Findings
from damo_yolo.errors import DataError
from tests.unit.datasets.tiny import (
    annotation,
    coco_spec,
    paint,
    pets,
    read,
    write_catalog,
    write_coco,
)


def test_a_box_of_left_top_width_height_becomes_corners_in_unified_ids(tmp_path: Path) -> None:
    (record,) = read(pets(tmp_path, [annotation(0, 0, [1, 2, 30, 40])]))

    assert record.key == "pets/a"
    assert record.image_uri == str(tmp_path / "train/a.jpg")
    assert (record.width, record.height) == (64, 48)
    assert record.boxes.tolist() == [[1, 2, 31, 42]]
    assert record.class_ids.tolist() == [1]  # category id 0, spelled "cat " with a blank
    assert record.source_ids == ("0",)
    assert record.known_ids is None
    assert record.unknown_ids.tolist() == [2]


def test_images_come_ordered_and_those_without_annotations_are_background(tmp_path: Path) -> None:
    names = ("b.jpg", "a.jpg", "sub/c.jpg")
    records = read(pets(tmp_path, [annotation(0, 7, [0, 0, 9, 9])], names=names))

    assert [record.key for record in records] == ["pets/a", "pets/b", "pets/sub/c"]
    assert [len(record.boxes) for record in records] == [0, 1, 0]


def test_a_crowd_is_marked_and_leaves_its_class_unknown_unless_seen_alone(tmp_path: Path) -> None:
    mask = {"counts": [5, 3], "size": [48, 64]}
    crowd = annotation(0, 7, [0, 0, 9, 9], iscrowd=1, segmentation=mask)
    dog = annotation(1, 7, [10, 10, 9, 9])
    objects = [crowd, {**crowd, "image_id": 1}, dog]
    only_crowd, with_dog = read(pets(tmp_path, objects, names=("a.jpg", "b.jpg")))

    assert only_crowd.is_crowd.tolist() == [True]
    assert only_crowd.unknown_ids.tolist() == [0]
    assert with_dog.is_crowd.tolist() == [True, False]
    assert with_dog.unknown_ids.tolist() == []


@pytest.mark.parametrize("width", [None, 0, -3, 10**12, float("nan"), "wide"])
def test_sizes_that_cannot_be_are_read_from_the_image_and_counted(
    tmp_path: Path, width: float | str | None
) -> None:
    catalog = pets(tmp_path, [annotation(0, 7, [0, 0, 999, 999])])
    data = json.loads((tmp_path / "train.json").read_text())
    data["images"][0]["width"] = width
    (tmp_path / "train.json").write_text(json.dumps(data))
    findings = Findings()
    (record,) = read(catalog, findings)

    assert findings.counts["sizes missing in the annotation, read from the image"] == 1
    assert findings.first["sizes missing in the annotation, read from the image"].endswith("a.jpg")

    assert (record.width, record.height) == (64, 48)
    assert record.boxes.tolist() == [[0, 0, 64, 48]]


def test_ids_may_be_texts_and_arrays_may_come_in_any_order(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [annotation(0, 7, [0, 0, 9, 9]), annotation(1, 0, [0, 0, 9, 9])])
    data = json.loads((tmp_path / "train.json").read_text())
    data["images"] = [{"id": text, "file_name": f"{text}.jpg"} for text in ("x", "y")]
    for place, text in enumerate(("y", "x")):
        paint(tmp_path / f"train/{text}.jpg")
        data["annotations"][place]["image_id"] = text
    backwards = {key: data[key] for key in ("annotations", "categories", "images")}
    (tmp_path / "train.json").write_text(json.dumps(backwards))

    assert [(r.key, r.class_ids.tolist()) for r in read(catalog)] == [
        ("pets/x", [1]),
        ("pets/y", [0]),
    ]


def test_annotations_of_unlisted_images_are_dropped_and_counted(tmp_path: Path) -> None:
    findings = Findings()
    read(pets(tmp_path, [annotation(5, 7, [0, 0, 9, 9]), annotation(5, 7, [1, 1, 9, 9])]), findings)

    assert findings.counts["annotations of unlisted images"] == 2


def test_excluded_images_are_left_out_however_the_list_spells_them(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [], names=("a.jpg", "b.jpg", "c.jpg", "d.jpg"))
    (tmp_path / "out.txt").write_text("a\npets/b\nc.jpg\n")
    train = {"annotations": "train.json", "images": "train", "exclude": "out.txt"}
    catalog = load_catalog(str(write_catalog(tmp_path, coco_spec(train=train))))

    assert [record.key for record in read(catalog)] == ["pets/d"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"annotations": [{"image_id": 0, "category_id": 7}]}, "has no bbox of four numbers: None"),
        ({"annotations": [annotation(0, 7, [1, 2, 3])]}, "has no bbox of four numbers: [1, 2, 3]"),
        ({"annotations": [annotation(0, 7, [1, 2, 3, "x"])]}, "has no bbox of four numbers"),
        ({"annotations": [annotation(0, 8, [1, 2, 3, 4])]}, "has category 8"),
        ({"annotations": [{"bbox": [1, 2, 3, 4]}]}, "'image_id'"),
        ({"annotations": [{"image_id": 0, "bbox": [1, 2, 3, 4]}]}, "'category_id' of {"),
        ({"annotations": [annotation(0, 8, [1, 2, 3, 4])]}, "annotation number 1 has category 8"),
        ({"categories": [{"id": 7, "name": "dog"}, {"id": 7, "name": "cow"}]}, "both 'dog' and"),
        ({"categories": [{"id": 7, "name": " "}]}, "'name' of the category"),
        ({"categories": [{"id": 7, "name": None}]}, "'name' of the category"),
        ({"categories": [{"name": "dog"}]}, "'id' of the category"),
        ({"images": [{"id": 0}]}, "'file_name'"),
        ({"images": [{"id": 0, "file_name": "a"}, {"id": 0, "file_name": "b"}]}, "id 0"),
        ({"categories": None}, "a needed key is missing or of the wrong type"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    catalog = pets(tmp_path, [])
    data = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**data, **change}))

    with pytest.raises(DataError) as caught:
        read(catalog)

    assert problem in caught.value.problem
    assert "train.json" in caught.value.problem


@pytest.mark.parametrize("place", ["file_name", "name", "note"])
def test_a_file_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path, place: str) -> None:
    catalog = pets(tmp_path, [annotation(0, 7, [0, 0, 9, 9], note="plain")])
    text = (tmp_path / "train.json").read_text()
    text = text.replace(f'"{place}": "', f'\n"{place}": "\xfc', 1)
    (tmp_path / "train.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(DataError) as caught:
        read(catalog)

    assert "not UTF-8 at line 2" in caught.value.problem


def test_names_of_any_alphabet_read(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [annotation(0, 7, [0, 0, 9, 9])], names=("\u732b b\xe4r 1.jpg",))

    assert [record.key for record in read(catalog)] == ["pets/\u732b b\xe4r 1"]


def test_a_file_cut_short_is_named_with_the_position(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [])
    (tmp_path / "train.json").write_text('{"images": [\n{"id": 1,')

    with pytest.raises(DataError) as caught:
        read(catalog)

    assert "train.json is not valid JSON" in caught.value.problem
    assert "line 2, column 10 (byte 22 of 22)" in caught.value.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    catalog = pets(tmp_path, [])
    (tmp_path / "train.json").unlink()

    with pytest.raises(DataError, match=r"the annotation file .*train\.json is missing"):
        read(catalog)


@pytest.mark.parametrize(
    "place", ["images/v2/patch4/x_7.jpg", "patch4/x_7.jpg", "x_7.jpg"], ids=str
)
def test_objects365_images_are_found_in_any_layout(tmp_path: Path, place: str) -> None:
    write_coco(tmp_path, [])
    paint(tmp_path / "train" / place)
    data = json.loads((tmp_path / "train.json").read_text())
    data["images"] = [
        {"id": 1, "file_name": "images/v1/patch6/objects365_v1_00320532.jpg"},
        {"id": 7, "file_name": "images/v2/patch4/x_7.jpg", "width": 64, "height": 48},
    ]
    (tmp_path / "train.json").write_text(json.dumps(data))
    spec = coco_spec(format="objects365")
    findings = Findings()
    (record,) = read(load_catalog(str(write_catalog(tmp_path, spec))), findings)

    assert record.key == "pets/x_7"
    assert record.image_uri == str(tmp_path / "train" / place)
    assert findings.counts == {"images that no Objects365 archive holds": 1}


def test_real_coco_images_read_as_published(shared_data_dir: Path, tmp_path: Path) -> None:
    spec = coco_spec(
        mapping="coco",
        train={
            "annotations": str(shared_data_dir / "coco128/annotations/instances_train2017.json"),
            "images": str(shared_data_dir / "coco128/train2017"),
        },
    )
    file = write_catalog(tmp_path, spec, label_space="unified_701")
    records = read(load_catalog(str(file)))

    assert len(records) == 128
    assert sum(len(record.boxes) for record in records) == 939
    assert sum(int(record.is_crowd.sum()) for record in records) == 10
    assert sum(len(record.boxes) == 0 for record in records) == 2


def test_real_objects365_excerpts_of_both_releases_read(
    shared_data_dir: Path, tmp_path: Path
) -> None:
    folder = shared_data_dir / "objects365_format"
    expected = {"objects365_v1_val.excerpt.json": ("objects365_v1", 1, "21")}
    expected["zhiyuan_objv2.excerpt.json"] = ("objects365_v2", 2, "84")
    for name, (mapping, num_images, source_id) in expected.items():
        train = {"annotations": str(folder / name), "images": str(folder)}
        spec = coco_spec(format="objects365", mapping=mapping, train=train)
        file = write_catalog(tmp_path, spec, label_space="unified_701")
        records = read(load_catalog(str(file)))

        assert len(records) == num_images
        assert [record.source_ids for record in records if record.source_ids] == [(source_id,)]
