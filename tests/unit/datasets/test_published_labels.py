"""Every annotation of the real data lands where the published table of 701 classes says."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from damo_yolo.datasets.catalog import load_catalog
from damo_yolo.datasets.source import Findings
from damo_yolo.samples import ImageRecord
from tests.unit.datasets.tiny import annotation, coco_spec, paint, read, write_catalog

Published = dict[str, dict[str, int]]
"""Kind of id or name to it, to unified id."""
DUPLICATES_AND_SUCH = ("degenerate boxes", "exact duplicate boxes", "boxes outside the image")


@pytest.fixture(scope="module")
def published(facts_dir: Path) -> Published:
    with (facts_dir / "label_space_701.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = ("coco_id", "coco_name", "o365v1_id", "o365v2_id", "oid_mid", "oid_boxable_name")
    return {
        kind: {row[kind].strip(): int(row["unified_id"]) for row in rows if row[kind]}
        for kind in (*kinds, "oid_challenge2019_name")
    }


def landed(records: list[ImageRecord]) -> Counter[tuple[str, int]]:
    """Count the objects by source id and unified id."""
    return Counter(
        pair
        for record in records
        for pair in zip(record.source_ids, record.class_ids.tolist(), strict=True)
    )


def read_701(folder: Path, spec: dict[str, Any], findings: Findings) -> list[ImageRecord]:
    file = write_catalog(folder, spec, label_space="unified_701")
    return read(load_catalog(str(file)), findings)


def dropped(findings: Findings) -> int:
    return sum(findings.counts.get(kind, 0) for kind in DUPLICATES_AND_SUCH)


@pytest.mark.parametrize(
    ("file", "images", "num_boxes"),
    [
        ("coco128/annotations/instances_train2017.json", "coco128/train2017", 939),
        ("coco_val80/annotations/instances_val2017.json", "coco_val80/val2017", 815),
    ],
)
def test_coco(
    shared_data_dir: Path,
    tmp_path: Path,
    published: Published,
    file: str,
    images: str,
    num_boxes: int,
) -> None:
    path = shared_data_dir / file
    findings = Findings()
    train = {"annotations": str(path), "images": str(shared_data_dir / images)}
    records = read_701(tmp_path, coco_spec(mapping="coco", train=train), findings)
    annotated = Counter(str(a["category_id"]) for a in json.loads(path.read_text())["annotations"])

    assert landed(records).total() + dropped(findings) == num_boxes == annotated.total()
    assert dropped(findings) == 0
    assert landed(records) == {
        (key, published["coco_id"][key]): count for key, count in annotated.items()
    }


@pytest.mark.parametrize(("split", "num_boxes"), [("train", 465), ("test", 117)])
def test_fruit_as_open_images(
    shared_data_dir: Path, tmp_path: Path, published: Published, split: str, num_boxes: int
) -> None:
    folder = shared_data_dir / "fruit300" / split
    by_name = {name.lower(): place for name, place in published["oid_boxable_name"].items()}
    names = [
        item.findtext("name") or ""
        for path in sorted(folder.glob("*.xml"))
        for item in ET.parse(path).getroot().iter("object")
    ]
    lines = "".join(f"{name},,{by_name[name]}\n" for name in sorted(set(names)))
    (tmp_path / "fruit.csv").write_text(f"source_id,source_name,unified_id\n{lines}")
    where = dict.fromkeys(("annotations", "images"), str(folder))
    spec = {"name": "f", "format": "voc", "mapping": "fruit.csv", "train": where, "val": where}
    findings = Findings()
    records = read_701(tmp_path, spec, findings)
    expected = Counter({(name, by_name[name]): names.count(name) for name in set(names)})

    assert landed(records).total() + dropped(findings) == num_boxes
    assert not landed(records) - expected
    assert (expected - landed(records)).total() == dropped(findings)


@pytest.mark.parametrize(
    ("file", "mapping", "kind"),
    [
        ("objects365_v1_val.excerpt.json", "objects365_v1", "o365v1_id"),
        ("zhiyuan_objv2.excerpt.json", "objects365_v2", "o365v2_id"),
    ],
)
def test_objects365(
    shared_data_dir: Path, tmp_path: Path, published: Published, file: str, mapping: str, kind: str
) -> None:
    folder = shared_data_dir / "objects365_format"
    train = {"annotations": str(folder / file), "images": str(folder)}
    spec = coco_spec(format="objects365", mapping=mapping, train=train)
    records = read_701(tmp_path, spec, Findings())
    (annotated,) = json.loads((folder / file).read_text())["annotations"]
    category = str(annotated["category_id"])

    assert landed(records) == {(category, published[kind][category]): 1}


def test_objects365_v2_classes_of_two_unified_ones_and_of_none(tmp_path: Path) -> None:
    paint(tmp_path / "train/a.jpg")
    orange_tangerine, other_shoes, sneakers = 105, 4, 2
    objects = [
        annotation(0, orange_tangerine, [0, 0, 9, 9]),
        annotation(0, other_shoes, [20, 0, 9, 9]),
        annotation(0, sneakers, [40, 0, 9, 9]),
    ]
    data = {
        "images": [{"id": 0, "file_name": "images/v1/patch0/a.jpg", "width": 64, "height": 48}],
        "annotations": objects,
        "categories": [{"id": i, "name": str(i)} for i in (2, 4, 105)],
    }
    (tmp_path / "train.json").write_text(json.dumps(data))
    findings = Findings()
    spec = coco_spec(format="objects365", mapping="objects365_v2")
    (record,) = read_701(tmp_path, spec, findings)

    assert landed([record]) == {("105", 39): 1, ("2", 10): 1}
    assert 171 in record.unknown_ids.tolist()
    assert findings.counts == {"boxes of ignored classes": 1}


@pytest.mark.parametrize("num_classes", [500, 601])
@pytest.mark.parametrize(
    "file",
    [
        "train-annotations-bbox.v3-excerpt.csv",
        "validation-annotations-bbox.excerpt.csv",
        "oidv6-train-annotations-bbox.excerpt.csv",
        "train-annotations-bbox.6classes.csv",
    ],
)
def test_openimages(
    shared_data_dir: Path, tmp_path: Path, published: Published, file: str, num_classes: int
) -> None:
    folder = shared_data_dir / "openimages_format"
    classes = {
        500: "challenge-2019-classes-description-500.two-column.csv",
        601: "class-descriptions-boxable.csv",
    }[num_classes]
    with (folder / file).open(newline="") as text:
        rows = list(csv.DictReader(text))
    sizes = "".join(f"{image_id},1000,1000\n" for image_id in {row["ImageID"] for row in rows})
    (tmp_path / "sizes.csv").write_text(f"ImageID,Width,Height\n{sizes}")
    train = {"annotations": str(folder / file), "images": ".", "image_sizes": "sizes.csv"}
    spec = {
        "name": "o",
        "format": "openimages",
        "mapping": f"openimages_{num_classes}",
        "classes": str(folder / classes),
        "train": train,
        "val": train,
    }
    findings = Findings()
    records = read_701(tmp_path, spec, findings)
    mids = Counter(row["LabelName"] for row in rows)
    expected = Counter(
        {
            (mid, published["oid_mid"][mid]): n
            for mid, n in mids.items()
            if mid in published["oid_mid"]
        }
    )
    missing = expected - landed(records)

    assert not landed(records) - expected
    assert missing.total() == dropped(findings)
    assert landed(records).total() + sum(findings.counts.values()) >= len(rows)


def test_the_expanded_sample_lands_by_its_names(
    shared_data_dir: Path, tmp_path: Path, published: Published
) -> None:
    path = shared_data_dir / "openimages_format/expanded_validation_sample.csv"
    by_name = {**published["oid_boxable_name"], **published["oid_challenge2019_name"]}
    with path.open(newline="") as text:
        rows = list(csv.DictReader(text))
    names = Counter(row["LabelName"] for row in rows if row["LabelName"])
    assert names.keys() <= by_name.keys()
    with (tmp_path / "classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows((name, name) for name in names)
    with (tmp_path / "names.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source_id", "source_name", "unified_id"))
        writer.writerows((name, name, by_name[name]) for name in names)
    sizes = "".join(f"{image_id},1000,1000\n" for image_id in {row["ImageID"] for row in rows})
    (tmp_path / "sizes.csv").write_text(f"ImageID,Width,Height\n{sizes}")
    train = {"annotations": str(path), "images": ".", "image_sizes": "sizes.csv"}
    spec = {
        "name": "o",
        "format": "openimages",
        "mapping": "names.csv",
        "classes": "classes.csv",
        "train": train,
        "val": train,
    }
    findings = Findings()
    records = read_701(tmp_path, spec, findings)
    expected = Counter({(name, by_name[name]): count for name, count in names.items()})

    assert len(records) == 3520
    assert sum(len(record.boxes) == 0 for record in records) >= 1  # i3519.jpg, an empty row
    assert not landed(records) - expected
    assert (expected - landed(records)).total() == dropped(findings)
    assert landed(records).total() + dropped(findings) == 36191
