"""Merging: one table per split, in a fixed order, with counts that can be checked by hand."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from damo_yolo.datasets.catalog import Catalog, load_catalog
from damo_yolo.datasets.records import read_records
from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.merge import merge
from tests.unit.datasets.tiny import annotation, coco_spec, write_catalog, write_coco

CAT, DOG = 0, 7


def two_datasets(folder: Path) -> Catalog:
    """Write `zoo` (2 train images) and `pets` (3 train images, 1 val image), in this order."""
    for name in ("zoo", "pets"):
        (folder / name).mkdir()
    write_coco(folder / "zoo", [annotation(0, DOG, [0, 0, 9, 9])], names=("b.jpg", "a.jpg"))
    crowd = annotation(1, CAT, [5, 5, 9, 9], iscrowd=1)
    cats = [annotation(0, CAT, [0, 0, 9, 9]), annotation(0, CAT, [9, 9, 9, 9])]
    dogs = [annotation(1, DOG, [0, 0, 9, 9]), annotation(1, DOG, [0, 0, 9, 0])]
    write_coco(folder / "pets", [*cats, *dogs, crowd], names=("1.jpg", "2.jpg", "3.jpg"))
    write_coco(folder / "pets", [annotation(0, CAT, [0, 0, 5, 5])], names=("9.jpg",), split="val")
    where = {
        split: {"annotations": f"pets/{split}.json", "images": f"pets/{split}"}
        for split in ("train", "val")
    }
    zoo = {"annotations": "zoo/train.json", "images": "zoo/train"}
    (folder / "dogs.csv").write_text("source_id,source_name,unified_id\n0,cat,ignore\n7,dog,0\n")
    specs = (
        coco_spec(name="zoo", mapping="dogs.csv", train=zoo, val=None, sampling="repeat_factor"),
        coco_spec(**where),
    )
    return load_catalog(str(write_catalog(folder, *specs, evaluation="pets")))


def merged(folder: Path, catalog: Catalog) -> dict[str, Any]:
    merge(catalog, LabelSpace.load(catalog.label_space), str(folder))
    facts: dict[str, Any] = json.loads((folder / "datasets.json").read_text())
    return facts


def test_datasets_come_in_the_order_of_the_catalog_and_images_by_id(tmp_path: Path) -> None:
    merged(tmp_path / "out", two_datasets(tmp_path))
    train = [record.key for record in read_records(str(tmp_path / "out/train.parquet"))]
    val = [record.key for record in read_records(str(tmp_path / "out/val.parquet"))]

    assert train == ["zoo/a", "zoo/b", "pets/1", "pets/2", "pets/3"]
    assert val == ["pets/9"]


def test_what_each_dataset_brings_is_counted(tmp_path: Path) -> None:
    facts = merged(tmp_path / "out", two_datasets(tmp_path))
    pets = facts["datasets"]["pets"]

    assert facts["evaluation"] == "pets"
    assert pets["sampling"] == "none"
    assert pets["known_ids"] == [0, 1]
    assert pets["classes"] == {"0": {"boxes": 1, "images": 1}, "1": {"boxes": 2, "images": 1}}
    assert pets["train"] == {
        "images": 3,
        "boxes": 3,
        "crowds": 1,
        "background": 1,
        "classes": pets["classes"],
        "findings": {"degenerate boxes": 1},
    }
    assert pets["val"]["classes"] == {"1": {"boxes": 1, "images": 1}}


def test_a_dropped_class_is_not_known(tmp_path: Path) -> None:
    facts = merged(tmp_path / "out", two_datasets(tmp_path))

    assert facts["datasets"]["zoo"]["known_ids"] == [0]
    assert facts["datasets"]["zoo"]["sampling"] == "repeat_factor"


def test_merging_again_gives_the_same_bytes(tmp_path: Path) -> None:
    catalog = two_datasets(tmp_path)
    for name in ("one", "two"):
        merged(tmp_path / name, catalog)

    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_the_size_of_chunks_does_not_change_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = two_datasets(tmp_path)
    facts = merged(tmp_path / "large", catalog)
    for name in ("damo_yolo.datasets.source", "damo_yolo.datasets.tables"):
        monkeypatch.setattr(f"{name}.IMAGES_PER_CHUNK", 2)
    monkeypatch.setattr("damo_yolo.datasets.tables.ROWS_PER_BATCH", 1)

    assert merged(tmp_path / "small", catalog) == facts
    for split in ("train", "val"):
        small, large = (
            pq.read_table(tmp_path / size / f"{split}.parquet") for size in ("small", "large")
        )
        assert small.equals(large)


def test_the_label_space_comes_along_in_the_form_that_its_checksum_is_of(tmp_path: Path) -> None:
    catalog = two_datasets(tmp_path)
    merged(tmp_path / "out", catalog)
    space = LabelSpace.load(str(tmp_path / "out/label_space.csv"))

    assert space.sha256 == LabelSpace.load(catalog.label_space).sha256
    assert space.to_csv() == (tmp_path / "out/label_space.csv").read_text()


def test_two_images_of_one_key_are_refused(tmp_path: Path) -> None:
    write_coco(tmp_path, [], names=("a.jpg", "a.png"))
    catalog = load_catalog(
        str(
            write_catalog(tmp_path, coco_spec(val={"annotations": "train.json", "images": "train"}))
        )
    )

    with pytest.raises(DataError, match="two images have the key pets/a"):
        merged(tmp_path / "out", catalog)
    assert not (tmp_path / "out/train.parquet").exists()


def test_an_unmapped_class_stops_the_merge_before_a_record_is_written(tmp_path: Path) -> None:
    catalog = two_datasets(tmp_path)
    (tmp_path / "dogs.csv").write_text("source_id,source_name,unified_id\n7,dog,0\n")

    with pytest.raises(DataError, match=r"dataset 'zoo': 1 class is not in .* first: cat \(0\)"):
        merged(tmp_path / "out", catalog)
    assert not (tmp_path / "out/train.parquet").exists()
