"""The checksum of a catalog's data: it follows content, not place."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from damo_yolo.datasets.catalog import load_catalog
from damo_yolo.datasets.digest import catalog_digest
from tests.unit.datasets.tiny import annotation, paint, pets


def digest_of(folder: Path) -> str:
    return catalog_digest(load_catalog(str(folder / "catalog.yaml")))


def test_a_dataset_that_moved_keeps_its_digest(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    catalog = pets(tmp_path / "here", [annotation(0, 7, [0, 0, 9, 9])])
    shutil.copytree(tmp_path / "here", tmp_path / "there")

    assert digest_of(tmp_path / "there") == catalog_digest(catalog)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "train.json").write_text("{}"),
        lambda folder: (folder / "train.json").unlink(),
        lambda folder: (folder / "map.csv").write_text("source_id,source_name,unified_id\n0,a,1\n"),
        lambda folder: (folder / "space.csv").write_text("unified_id,name\n0,dog\n"),
        lambda folder: paint(folder / "train/a.jpg", (200, 200)),
        lambda folder: paint(folder / "val/new.png"),
        lambda folder: (folder / "train/a.jpg").rename(folder / "train/b.jpg"),
    ],
    ids=["annotations", "gone", "mapping", "space", "image", "new image", "renamed image"],
)
def test_any_change_of_the_data_changes_the_digest(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    before = catalog_digest(pets(tmp_path, []))
    change(tmp_path)

    assert digest_of(tmp_path) != before


def test_files_that_are_no_data_do_not_matter(tmp_path: Path) -> None:
    before = catalog_digest(pets(tmp_path, []))
    (tmp_path / "train/notes.txt").write_text("hello")

    assert digest_of(tmp_path) == before
