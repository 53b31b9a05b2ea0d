"""Pascal VOC XML: names as ids, sizes that are missing, broken files."""

from pathlib import Path
from typing import Any

import pytest

from damo_yolo.datasets.catalog import Catalog, load_catalog
from damo_yolo.datasets.source import Findings
from damo_yolo.errors import DataError
from tests.unit.datasets.tiny import paint, read, write_catalog

OBJECT = "<object><name>{}</name><bndbox>{}</bndbox></object>"
BOX = "<xmin>1</xmin><ymin>2</ymin><xmax>31</xmax><ymax>42</ymax>"
DOG = OBJECT.format(" dog ", BOX)
MAPPING = "source_id,source_name,unified_id\ndog,dog,0\ncat,cat,1\n"


def xml(*objects: str, size: tuple[int, int] = (64, 48), name: str = "a.jpg") -> str:
    width, height = size
    sides = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>{name}</filename>{sides}{''.join(objects)}</annotation>"


def voc(folder: Path, files: dict[str, str], **train: Any) -> Catalog:
    """Write XML files and an image for each, and the catalog."""
    for seed, (stem, text) in enumerate(files.items()):
        paint(folder / "images" / f"{stem}.jpg", seed=seed)
        path = folder / "xml" / f"{stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    where = {"annotations": "xml", "images": "images", **train}
    spec = {"name": "v", "format": "voc", "mapping": "voc.csv", "train": where, "val": where}
    (folder / "voc.csv").write_text(MAPPING)
    return load_catalog(str(write_catalog(folder, spec)))


def test_names_are_the_ids_and_blanks_around_them_do_not_matter(tmp_path: Path) -> None:
    (record,) = read(voc(tmp_path, {"a": xml(DOG)}))

    assert record.key == "v/a"
    assert record.image_uri == str(tmp_path / "images/a.jpg")
    assert record.boxes.tolist() == [[1, 2, 31, 42]]
    assert record.class_ids.tolist() == [0]
    assert record.source_ids == ("dog",)


def test_a_size_of_zero_is_read_from_the_image_and_counted(tmp_path: Path) -> None:
    findings = Findings()
    (record,) = read(voc(tmp_path, {"a": xml(DOG, size=(0, 0))}), findings)

    assert (record.width, record.height) == (64, 48)
    assert findings.counts == {"sizes missing in the annotation, read from the image": 1}


def test_a_file_without_objects_is_background(tmp_path: Path) -> None:
    (record,) = read(voc(tmp_path, {"a": xml()}))

    assert record.boxes.shape == (0, 4)


def test_the_image_with_the_stem_of_the_xml_wins_over_a_stale_file_name(tmp_path: Path) -> None:
    catalog = voc(tmp_path, {"a": xml(DOG, name="old.jpg"), "b": xml(DOG, name="other.png")})
    (tmp_path / "images/b.jpg").unlink()
    paint(tmp_path / "images/other.png")
    first, second = read(catalog)

    assert first.image_uri == str(tmp_path / "images/a.jpg")
    assert second.image_uri == str(tmp_path / "images/other.png")


def test_an_image_set_selects_and_its_second_column_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text("b\nc -1\n")
    files = {"a": xml(DOG), "b": xml(DOG), "c": xml(DOG)}
    catalog = voc(tmp_path, files, image_set="set.txt")

    assert [record.key for record in read(catalog)] == ["v/b", "v/c"]


def test_an_image_of_the_set_without_xml_is_named(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text("a\nz\n")
    catalog = voc(tmp_path, {"a": xml(DOG)}, image_set="set.txt")

    with pytest.raises(DataError, match=r"1 images of .* have no XML file, first: z"):
        read(catalog)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<annotation><object>", "is not valid XML: no element found at line 1, column 20"),
        (xml(OBJECT.format("dog", "<xmin>1</xmin>")), "object 'dog' has no box of four numbers"),
        (xml(OBJECT.format(" ", BOX)), "an object has no name"),
        (xml(DOG).replace(">64<", ">wide<"), "width is 'wide', not a number"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    catalog = voc(tmp_path, {"a": text})

    with pytest.raises(DataError) as caught:
        read(catalog)

    assert problem in caught.value.problem
    assert "a.xml" in caught.value.problem


def test_a_folder_without_xml_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no XML file is in"):
        read(voc(tmp_path, {}))


def test_real_blood_cells_read_as_published(shared_data_dir: Path, tmp_path: Path) -> None:
    root = shared_data_dir / "bccd"
    where = {"annotations": str(root / "Annotations"), "images": str(root / "JPEGImages")}
    catalog = voc(tmp_path, {}, **where, image_set=str(root / "ImageSets/Main/trainval.txt"))
    (tmp_path / "voc.csv").write_text(
        "source_id,source_name,unified_id\nRBC,,0\nWBC,,1\nPlatelets,,2\n"
    )
    findings = Findings()
    records = read(catalog, findings)

    assert len(records) == 292
    assert findings.counts["degenerate boxes"] <= 2  # two in all 364 images


def test_real_fruit_has_33_training_images_without_a_size(
    shared_data_dir: Path, tmp_path: Path
) -> None:
    where = dict.fromkeys(("annotations", "images"), str(shared_data_dir / "fruit300/train"))
    catalog = voc(tmp_path, {}, **where)
    (tmp_path / "voc.csv").write_text(
        "source_id,source_name,unified_id\napple,,0\nbanana,,1\norange,,2\n"
    )
    findings = Findings()
    records = read(catalog, findings)
    boxes = [class_id for record in records for class_id in record.class_ids.tolist()]

    assert len(records) == 240
    assert [boxes.count(class_id) for class_id in range(3)] == [156, 169, 140]
    assert findings.counts == {"sizes missing in the annotation, read from the image": 33}
