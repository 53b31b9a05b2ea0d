"""The same stages on an object store: a catalog, its data and the records behind s3://."""

from pathlib import Path

from damo_yolo import storage
from damo_yolo.datasets.records import read_records
from damo_yolo.stages.check import check_catalog
from damo_yolo.stages.merge import merge_datasets
from tests.unit.datasets.tiny import annotation, pets


def test_check_and_merge_work_on_an_object_store(bucket: str, tmp_path: Path) -> None:
    pets(tmp_path, [annotation(0, 7, [0, 0, 9, 9])], names=("a.jpg", "b.jpg"))
    storage.publish(tmp_path, f"{bucket}/pets")
    catalog_uri = f"{bucket}/pets/catalog.yaml"
    local = check_catalog(str(tmp_path / "catalog.yaml"), str(tmp_path / "report"))
    remote = check_catalog(catalog_uri, f"{bucket}/report")
    result = merge_datasets(catalog_uri, f"{bucket}/records")
    (record, _) = read_records(f"{bucket}/records/train.parquet")

    assert remote.errors == ()
    assert remote.datasets == local.datasets
    assert result.num_train_images == 2
    assert record.image_uri == f"{bucket}/pets/train/a.jpg"
    assert storage.exists(f"{bucket}/records/result.json")


def test_an_image_missing_from_an_object_store_is_found(bucket: str, tmp_path: Path) -> None:
    pets(tmp_path, [])
    (tmp_path / "train/a.jpg").unlink()
    storage.publish(tmp_path, f"{bucket}/pets")
    result = check_catalog(f"{bucket}/pets/catalog.yaml", f"{bucket}/report")

    assert [item.kind for item in result.errors] == ["missing"]
    assert f"first: {bucket}/pets/train/a.jpg" in result.errors[0].problem
