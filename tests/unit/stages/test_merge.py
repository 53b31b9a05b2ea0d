"""The merge stage, and the example on real photographs."""

from pathlib import Path

import pytest

from damo_yolo.datasets.records import read_records
from damo_yolo.labels.space import LabelSpace
from damo_yolo.stages.check import check_catalog
from damo_yolo.stages.merge import MergeResult, merge_datasets
from tests.unit.datasets.tiny import annotation, pets

REAL_PHOTOS = Path(__file__).resolve().parents[3] / "examples/real_photos/catalog.yaml"
COCO_ORANGE, OPENIMAGES_ORANGE, APPLE = 171, 39, 149


def test_the_result_counts_and_lies_beside_the_records(tmp_path: Path) -> None:
    pets(tmp_path, [annotation(0, 7, [0, 0, 9, 9]), annotation(0, 0, [0, 0, 9, 9])])
    result = merge_datasets(str(tmp_path / "catalog.yaml"), str(tmp_path / "out"))

    assert (result.num_images, result.num_train_images, result.num_val_images) == (2, 1, 1)
    assert (result.num_train_boxes, result.num_classes, result.num_classes_with_boxes) == (2, 3, 2)
    assert result.train_boxes_per_class == {"dog": 1, "cat": 1}
    written = (tmp_path / "out/result.json").read_text()
    assert MergeResult.model_validate_json(written) == result


@pytest.fixture(scope="module")
def real_records(
    shared_data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MergeResult, Path]:
    assert shared_data_dir.is_dir()
    folder = tmp_path_factory.mktemp("records")
    return merge_datasets(str(REAL_PHOTOS), str(folder)), folder


def test_real_photographs_of_two_datasets_merge(real_records: tuple[MergeResult, Path]) -> None:
    result, _ = real_records
    splits = {
        (name, split): (summary.images, summary.boxes, summary.crowds)
        for name, parts in result.datasets.items()
        for split, summary in parts.items()
    }

    assert splits == {
        ("coco", "train"): (128, 929, 10),
        ("coco", "val"): (80, 804, 11),
        ("fruit", "train"): (240, 465, 0),
    }
    assert result.num_classes == 701


def test_real_oranges_stay_two_classes_and_apples_become_one(
    real_records: tuple[MergeResult, Path],
) -> None:
    _, folder = real_records
    seen: dict[int, set[str]] = {COCO_ORANGE: set(), OPENIMAGES_ORANGE: set(), APPLE: set()}
    for split in ("train", "val"):
        for record in read_records(str(folder / f"{split}.parquet")):
            for class_id in record.class_ids.tolist():
                if class_id in seen:
                    seen[class_id].add(record.dataset)

    assert seen == {COCO_ORANGE: {"coco"}, OPENIMAGES_ORANGE: {"fruit"}, APPLE: {"coco", "fruit"}}
    names = LabelSpace.load(str(folder / "label_space.csv")).names
    assert names[OPENIMAGES_ORANGE] == "orange"


def test_the_check_of_the_real_photographs_finds_dirt_and_no_error(
    shared_data_dir: Path, tmp_path: Path
) -> None:
    assert shared_data_dir.is_dir()
    result = check_catalog(str(REAL_PHOTOS), str(tmp_path))
    dirt = {(item.dataset, item.split, item.kind) for item in result.warnings}

    assert result.errors == ()
    assert result.leaks == ()
    assert result.num_images == 448
    assert ("coco", "train", "greyscale images") in dirt
    assert ("fruit", "train", "images stored as PNG") in dirt
