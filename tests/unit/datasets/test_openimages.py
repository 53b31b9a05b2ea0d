"""Open Images csv: columns by header, the class tree, image-level labels."""

import json
from pathlib import Path
from typing import Any

import pytest

from damo_yolo.datasets.catalog import Catalog, load_catalog
from damo_yolo.datasets.openimages import OpenImagesSource
from damo_yolo.datasets.readers import open_source
from damo_yolo.datasets.source import Findings
from damo_yolo.errors import DataError
from tests.unit.datasets.tiny import paint, read, write_catalog

HEADER = "ImageID,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"
DOG, CAT, ANIMAL = "/m/dog", "/m/cat", "/m/animal"
MAPPING = f"source_id,source_name,unified_id\n{DOG},Dog,0\n{CAT},Cat,1\n{ANIMAL},Animal,2\n"
CLASSES = f"{DOG},Dog\n{CAT},Cat\n{ANIMAL},Animal\n"
TREE = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [
        {
            "LabelName": ANIMAL,
            "Subcategory": [{"LabelName": CAT}, {"LabelName": DOG}],
            "Part": [{"LabelName": "/m/tail"}],
        }
    ],
}


def oid(folder: Path, *rows: str, header: str = HEADER, **fields: Any) -> Catalog:
    """Write a box csv, the images that it names (64 x 48), and the catalog."""
    for row in rows:
        paint(folder / "images" / f"{row.split(',')[0]}.jpg")
    (folder / "boxes.csv").write_text("\n".join((header, *rows)) + "\n")
    (folder / "classes.csv").write_text(CLASSES)
    (folder / "oid.csv").write_text(MAPPING)
    (folder / "tree.json").write_text(json.dumps(TREE))
    train = {"annotations": "boxes.csv", "images": "images", **fields.pop("train", {})}
    spec = {"name": "o", "format": "openimages", "mapping": "oid.csv", "classes": "classes.csv"}
    entry = {**spec, "train": train, "val": train, **fields}
    return load_catalog(str(write_catalog(folder, entry)))


def test_fractions_become_pixels_whatever_the_order_of_columns(tmp_path: Path) -> None:
    (record,) = read(oid(tmp_path, f"x,{DOG},1,0.25,0.5,0.5,1,0"))

    assert record.key == "o/x"
    assert record.boxes.tolist() == [[16, 24, 32, 48]]
    assert record.class_ids.tolist() == [0]
    assert record.source_ids == (DOG,)
    assert record.known_ids is None
    assert record.unknown_ids.tolist() == []


def test_sizes_of_a_csv_save_reading_the_images_but_for_those_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "sizes.csv").write_text("ImageID,Width,Height\nx,1000,500\n")
    rows = (f"x,{DOG},1,0.25,0.5,0.5,1,0", f"y,{DOG},1,0.25,0.5,0.5,1,0")
    catalog = oid(tmp_path, *rows, train={"image_sizes": "sizes.csv"})
    (tmp_path / "images/x.jpg").unlink()
    listed, unlisted = read(catalog)

    assert listed.boxes.tolist() == [[250, 250, 500, 500]]
    assert unlisted.boxes.tolist() == [[16, 24, 32, 48]]


def test_line_ends_of_windows_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    catalog = oid(tmp_path, f"x,{DOG},1,0,1,0,1,0", f"y,{CAT},1,0,1,0,1,1")
    text = (tmp_path / "boxes.csv").read_text()
    (tmp_path / "boxes.csv").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))

    assert [record.is_crowd.tolist() for record in read(catalog)] == [[False], [True]]


def test_rows_of_an_image_need_not_lie_together(tmp_path: Path) -> None:
    rows = (f"b,{DOG},1,0,1,0,1,0", f"a,{CAT},1,0,1,0,1,0", f"b,{CAT},1,0,0.5,0,1,0")
    records = read(oid(tmp_path, *rows))

    assert [record.key for record in records] == ["o/a", "o/b"]
    assert [record.class_ids.tolist() for record in records] == [[1], [0, 1]]


def test_a_file_without_flags_has_no_groups(tmp_path: Path) -> None:
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax"
    (record,) = read(oid(tmp_path, f"x,xclick,{DOG},1,0,1,0,1", header=header))

    assert record.is_crowd.tolist() == [False]


def test_a_group_is_a_crowd_and_leaves_its_class_unknown_unless_seen_alone(tmp_path: Path) -> None:
    rows = (f"x,{DOG},1,0,1,0,1,1", f"y,{DOG},1,0,1,0,1,1", f"y,{DOG},1,0,0.5,0,1,0")
    group, both = read(oid(tmp_path, *rows))

    assert group.is_crowd.tolist() == [True]
    assert group.unknown_ids.tolist() == [0]
    assert both.unknown_ids.tolist() == []


def test_ancestors_of_a_present_class_are_unknown(tmp_path: Path) -> None:
    rows = (f"x,{DOG},1,0,1,0,1,0", f"y,{ANIMAL},1,0,1,0,1,0")
    dog, animal = read(oid(tmp_path, *rows, hierarchy="tree.json"))

    assert dog.unknown_ids.tolist() == [2]
    assert animal.unknown_ids.tolist() == []


def test_where_there_are_image_labels_only_verified_and_boxed_classes_are_known(
    tmp_path: Path,
) -> None:
    paint(tmp_path / "images/z.jpg")
    labels = f"ImageID,Source,LabelName,Confidence\nx,v,{CAT},0\nz,v,{ANIMAL},1\nz,v,{DOG},0.7\n"
    (tmp_path / "labels.csv").write_text(labels)
    rows = (f"x,{DOG},1,0,1,0,1,0", f"y,{DOG},1,0,1,0,1,0")
    boxed, unverified, unboxed = read(oid(tmp_path, *rows, train={"image_labels": "labels.csv"}))

    assert boxed.known_ids is not None
    assert boxed.known_ids.tolist() == [0, 1]
    assert unverified.known_ids is not None
    assert unverified.known_ids.tolist() == [0]
    assert unboxed.key == "o/z"
    assert unboxed.known_ids is not None
    assert unboxed.known_ids.tolist() == [2]
    assert unboxed.unknown_ids.tolist() == [2]  # seen, and no box drawn


def test_boxes_of_classes_that_the_class_file_lacks_are_dropped_and_counted(
    tmp_path: Path,
) -> None:
    findings = Findings()
    (record,) = read(oid(tmp_path, f"x,{DOG},1,0,1,0,1,0", "x,/m/owl,1,0,1,0,1,0"), findings)

    assert record.class_ids.tolist() == [0]
    assert findings.counts == {"boxes of classes that the class file lacks": 1}
    assert findings.first == {"boxes of classes that the class file lacks": "class /m/owl"}


def test_an_image_set_adds_background(tmp_path: Path) -> None:
    paint(tmp_path / "images/y.jpg")
    (tmp_path / "set.csv").write_text("ImageID,Subset\nx,train\ny,train\n")
    catalog = oid(tmp_path, f"x,{DOG},1,0,1,0,1,0", train={"image_set": "set.csv"})

    assert [len(record.boxes) for record in read(catalog)] == [1, 0]


@pytest.mark.parametrize(
    ("row", "header", "problem"),
    [
        (f"x,{DOG},1,0,1,0,1,0", HEADER.replace("XMin", "X"), "lacks the columns XMin"),
        (f"x,{DOG},1,0,1", HEADER, "is not a valid csv file"),
        (f"x,{DOG},1,left,1,0,1,0", HEADER, "is not a valid csv file"),
        (f'"x,{DOG},1,0,1,0,1,0', HEADER, "unterminated quote found."),
    ],
)
def test_a_broken_csv_is_named(tmp_path: Path, row: str, header: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read(oid(tmp_path, row, header=header))

    assert problem in caught.value.problem
    assert "boxes.csv" in caught.value.problem


def test_a_csv_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    catalog = oid(tmp_path, f"x,{DOG},1,0,1,0,1,0")
    with (tmp_path / "boxes.csv").open("ab") as file:
        file.write(f"\xfc,{DOG},1,0,1,0,1,0\n".encode("latin-1"))

    with pytest.raises(DataError, match=r"boxes\.csv is not a valid csv file"):
        read(catalog)


def test_one_mid_with_two_names_is_named(tmp_path: Path) -> None:
    catalog = oid(tmp_path, f"x,{DOG},1,0,1,0,1,0")
    (tmp_path / "classes.csv").write_text(f"{CLASSES}{DOG},Hound\n")

    with pytest.raises(DataError, match=f"calls {DOG} both 'Dog' and 'Hound'"):
        read(catalog)


def test_blanks_around_ids_and_names_do_not_matter(tmp_path: Path) -> None:
    catalog = oid(tmp_path, f"x,{DOG},1,0,1,0,1,0")
    (tmp_path / "boxes.csv").write_text(f"{HEADER.replace(',', ' , ')}\nx , {DOG} ,1,0,1,0,1,0\n")
    (record,) = read(catalog)

    assert (record.key, record.source_ids) == ("o/x", (DOG,))


def test_a_class_file_of_another_set_leads_to_the_mapping(tmp_path: Path) -> None:
    catalog = oid(tmp_path, f"x,{DOG},1,0,1,0,1,0")
    (tmp_path / "classes.csv").write_text(f"{CLASSES}/m/bat,Bat\n/m/owl,Owl\n")

    with pytest.raises(DataError, match=r"2 classes are not in the label mapping, first: Bat"):
        read(catalog)


def real_spec(folder: Path, num_classes: int, **train: str) -> dict[str, Any]:
    """Return the catalog entry of real files, with the 500 or the 601 classes."""
    names = {
        500: ("challenge-2019-classes-description-500.two-column.csv", "challenge-2019-label500"),
        601: ("class-descriptions-boxable.csv", "bbox_labels_600"),
    }
    classes, tree = names[num_classes]
    return {
        "name": "o",
        "format": "openimages",
        "mapping": f"openimages_{num_classes}",
        "classes": str(folder / classes),
        "hierarchy": f"{folder / tree}{'_' if num_classes == 601 else '-'}hierarchy.json",
        "train": train,
        "val": train,
    }


@pytest.mark.parametrize("num_classes", [500, 601])
@pytest.mark.parametrize(
    ("name", "num_rows"),
    [
        ("train-annotations-bbox.v3-excerpt.csv", 9),
        ("train-annotations-bbox.6classes.csv", 13134),
        ("oidv6-train-annotations-bbox.excerpt.csv", 3),
    ],
)
def test_real_files_of_8_13_and_21_columns_read(
    shared_data_dir: Path, tmp_path: Path, name: str, num_rows: int, num_classes: int
) -> None:
    folder = shared_data_dir / "openimages_format"
    spec = real_spec(folder, num_classes, annotations=str(folder / name), images=".")
    catalog = load_catalog(str(write_catalog(tmp_path, spec, label_space="unified_701")))
    with open_source(catalog.datasets[0], "train") as source:
        assert isinstance(source, OpenImagesSource)
        chunks = list(source.chunks(Findings()))
    image_ids = [image_id for chunk in chunks for image_id in chunk.image_ids]

    assert len(source.classes) == num_classes
    assert sum(len(chunk.boxes) for chunk in chunks) + source.num_unlisted == num_rows
    assert image_ids == sorted(image_ids)


def test_in_a_real_image_with_cars_the_vehicle_is_unknown(
    shared_data_dir: Path, tmp_path: Path
) -> None:
    folder = shared_data_dir / "openimages_format"
    paint(tmp_path / "images/0000c64e1253d68f.jpg", (100, 100))
    paint(tmp_path / "images/000026e7ee790996.jpg", (100, 100))
    paint(tmp_path / "images/000062a39995e348.jpg", (100, 100))
    train = {
        "annotations": str(folder / "validation-annotations-bbox.excerpt.csv"),
        "image_labels": str(folder / "validation-annotations-human-imagelabels.excerpt.csv"),
        "images": "images",
    }
    spec = real_spec(folder, 601, **train)
    file = write_catalog(tmp_path, spec, label_space="unified_701")
    records = {record.key: record for record in read(load_catalog(str(file)))}
    cars = records["o/0000c64e1253d68f"]
    car, land_vehicle, vehicle = 136, 596, 471

    assert cars.source_ids == ("/m/07yv9", "/m/0k4j", "/m/0k4j", "/m/0k4j")
    assert cars.is_crowd.tolist() == [True, False, False, False]
    assert set(cars.unknown_ids.tolist()) == {land_vehicle, vehicle}
    assert cars.known_ids is not None
    assert set(cars.known_ids.tolist()) == {vehicle, car}
