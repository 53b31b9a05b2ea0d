"""YOLO txt: fractions of the upright image, polygons, background, broken lines."""

from pathlib import Path

import pytest

from damo_yolo.datasets.catalog import Catalog, load_catalog
from damo_yolo.datasets.source import Findings
from damo_yolo.errors import DataError
from tests.unit.datasets.tiny import paint, read, turned, write_catalog

CENTRE = "1 0.5 0.5 0.25 0.5"


def yolo(folder: Path, labels: dict[str, str], names: str = "names: [cat, 'dog ']") -> Catalog:
    """Write an image of 64 x 48 for each label text, and data.yaml."""
    (folder / "labels").mkdir()
    for seed, (stem, text) in enumerate(labels.items()):
        paint(folder / "images" / f"{stem}.jpg", seed=seed)
        (folder / "labels" / f"{stem}.txt").write_text(text)
    (folder / "data.yaml").write_text(names)
    where = {"annotations": "labels", "images": "images"}
    spec = {"name": "y", "format": "yolo", "mapping": "unified", "classes": "data.yaml"}
    return load_catalog(str(write_catalog(folder, {**spec, "train": where, "val": where})))


def test_fractions_become_pixels_and_names_become_ids(tmp_path: Path) -> None:
    (record,) = read(yolo(tmp_path, {"a": CENTRE}))

    assert (record.width, record.height) == (64, 48)
    assert record.boxes.tolist() == [[24, 12, 40, 36]]
    assert record.source_ids == ("dog",)
    assert record.class_ids.tolist() == [0]  # dog of the space, by name


def test_names_may_be_a_mapping_from_index(tmp_path: Path) -> None:
    (record,) = read(yolo(tmp_path, {"a": CENTRE}, names="names: {0: dog, 1: cat}"))

    assert record.source_ids == ("cat",)


def test_an_image_without_labels_is_background(tmp_path: Path) -> None:
    catalog = yolo(tmp_path, {"a": CENTRE, "b": ""})
    paint(tmp_path / "images/c.jpg")

    assert [len(record.boxes) for record in read(catalog)] == [1, 0, 0]


def test_a_polygon_is_read_as_its_bounding_box_and_counted(tmp_path: Path) -> None:
    findings = Findings()
    (record,) = read(yolo(tmp_path, {"a": "0 0.25 0.5 0.5 0.25 0.75 0.5"}), findings)

    assert record.boxes.tolist() == [[16, 12, 48, 24]]
    assert findings.counts == {"polygons read as boxes": 1}


def test_a_folder_of_labels_that_belong_to_no_image_is_named(tmp_path: Path) -> None:
    """Else a wrong location would make all images background."""
    catalog = yolo(tmp_path, {"a": CENTRE})
    (tmp_path / "labels/a.txt").rename(tmp_path / "labels/b.txt")

    with pytest.raises(DataError, match=r"no txt in .*labels is named like an image"):
        read(catalog)


def test_line_ends_of_windows_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    catalog = yolo(tmp_path, {"a": ""})
    (tmp_path / "labels/a.txt").write_bytes(f"{CENTRE}\r\n0 0.5 0.5 1 1 \r\n".encode("utf-8-sig"))
    (record,) = read(catalog)

    assert record.source_ids == ("dog", "cat")


def test_labels_without_an_image_are_counted(tmp_path: Path) -> None:
    catalog = yolo(tmp_path, {"a": CENTRE})
    (tmp_path / "labels/z.txt").write_text(CENTRE)
    findings = Findings()
    read(catalog, findings)

    assert findings.counts == {"labels without an image": 1}


def test_an_image_that_lies_on_its_side_keeps_the_upright_view(tmp_path: Path) -> None:
    catalog = yolo(tmp_path, {"a": "0 0.25 0.5 0.5 1"})
    paint(tmp_path / "images/a.jpg", (64, 48), exif=turned(6))
    (record,) = read(catalog)

    assert (record.width, record.height) == (48, 64)  # shards turn the image to this size
    assert record.boxes.tolist() == [[0, 0, 24, 64]]


def test_boxes_of_an_image_stored_upside_down_move_to_the_stored_pixels(tmp_path: Path) -> None:
    catalog = yolo(tmp_path, {"a": "0 0.25 0.25 0.5 0.5"})
    paint(tmp_path / "images/a.jpg", (64, 48), exif=turned(3))
    (record,) = read(catalog)

    assert (record.width, record.height) == (64, 48)
    assert record.boxes.tolist() == [[32, 24, 64, 48]]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 0.5 0.5 0.2", "line 2 is neither a box nor a polygon: '0 0.5 0.5 0.2'"),
        ("0 0.5 0.5 0.2 0.2 0.9", "line 2 is neither a box nor a polygon"),
        ("cat 0.5 0.5 0.2 0.2", "line 2 is neither a box nor a polygon"),
        ("2 0.5 0.5 0.2 0.2", "line 2: class 2 is not among the 2 of data.yaml"),
        ("0.5 0.5 0.5 0.2 0.2", "line 2: class 0.5 is not among the 2 of data.yaml"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    catalog = yolo(tmp_path, {"a": f"{CENTRE}\n{line}\n"})

    with pytest.raises(DataError) as caught:
        read(catalog)

    assert problem in caught.value.problem
    assert "a.txt" in caught.value.problem


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("nc: 2", "has no class names"),
        ("names: {a: cat}", "has no class names"),
        ("names: [cat, cat]", "has two classes named 'cat'"),
        ("names: [cat", "is not valid YAML"),
    ],
)
def test_a_broken_class_file_is_named(tmp_path: Path, names: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read(yolo(tmp_path, {"a": CENTRE}, names=names))

    assert problem in caught.value.problem


def test_two_images_that_differ_in_suffix_only_are_refused(tmp_path: Path) -> None:
    catalog = yolo(tmp_path, {"a": CENTRE})
    paint(tmp_path / "images/a.png")

    with pytest.raises(DataError, match="have the same name but for the suffix"):
        read(catalog)
