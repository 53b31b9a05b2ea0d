"""The catalog file: locations, and errors that name the field."""

from pathlib import Path
from typing import Any

import pytest

from damo_yolo.datasets.catalog import load_catalog
from damo_yolo.errors import ConfigError, DataError
from tests.unit.datasets.tiny import coco_spec, write_catalog


def test_relative_locations_resolve_against_the_folder_of_the_catalog(tmp_path: Path) -> None:
    spec = coco_spec(train={"annotations": "../x/t.json", "images": "s3://bucket/images"})
    catalog = load_catalog(str(write_catalog(tmp_path, spec)))
    train = catalog.dataset("pets").train

    assert train is not None
    assert train.annotations == str(tmp_path.parent / "x/t.json")
    assert train.images == "s3://bucket/images"
    assert catalog.label_space == str(tmp_path / "space.csv")


def test_builtin_names_are_not_taken_for_locations(tmp_path: Path) -> None:
    file = write_catalog(tmp_path, coco_spec(mapping="coco"), label_space="unified_701")
    catalog = load_catalog(str(file))

    assert catalog.label_space == "unified_701"
    assert catalog.dataset("pets").mapping == "coco"


@pytest.mark.parametrize(
    ("fields", "spec", "problem"),
    [
        ({"evaluation": "zoo"}, {}, "evaluation is 'zoo', which is no dataset with a val split"),
        ({}, {"val": None}, "evaluation is 'pets', which is no dataset with a val split"),
        ({}, {"train": None}, "no dataset has a train split"),
        ({}, {"train": None, "val": None}, "dataset 'pets' has neither train nor val"),
        ({}, {"format": "kitti"}, "datasets.0.format"),
        ({}, {"format": "openimages"}, "format openimages needs 'classes'"),
        ({}, {"name": "a/b"}, "datasets.0.name"),
        ({}, {"colour": "red"}, "datasets.0.colour"),
    ],
)
def test_a_catalog_that_does_not_fit_is_named(
    tmp_path: Path, fields: dict[str, Any], spec: dict[str, Any], problem: str
) -> None:
    file = write_catalog(tmp_path, coco_spec(**spec), **fields)

    with pytest.raises(ConfigError) as caught:
        load_catalog(str(file))

    assert problem in caught.value.problem


def test_two_datasets_of_one_name_are_refused(tmp_path: Path) -> None:
    file = write_catalog(tmp_path, coco_spec(), coco_spec())

    with pytest.raises(ConfigError, match="dataset names must be unique, twice: pets"):
        load_catalog(str(file))


def test_a_missing_catalog_is_named() -> None:
    with pytest.raises(DataError, match=r"no catalog is at nowhere/catalog\.yaml"):
        load_catalog("nowhere/catalog.yaml")
