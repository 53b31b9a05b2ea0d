"""The check stage: everything wrong is found, named once, and ends in one sentence."""

import json
import shutil
from pathlib import Path

import pytest

from damo_yolo.errors import DataError
from damo_yolo.stages.check import CheckResult, check_catalog
from tests.unit.datasets.tiny import annotation, paint, pets, turned

DOG = 7


def check(folder: Path, **options: bool) -> CheckResult:
    return check_catalog(str(folder / "catalog.yaml"), str(folder / "report"), **options)


def kinds(result: CheckResult) -> tuple[list[str], list[str]]:
    return [item.kind for item in result.errors], [item.kind for item in result.warnings]


def test_sound_data_pass_and_are_counted(tmp_path: Path) -> None:
    pets(tmp_path, [annotation(0, DOG, [0, 0, 9, 9])], names=("a.jpg", "b.jpg"))
    result = check(tmp_path)

    assert kinds(result) == ([], [])
    assert (result.num_images, result.num_boxes) == (3, 2)
    assert result.datasets["pets"]["train"].background == 1
    result.raise_on_errors()


def test_the_report_is_the_result(tmp_path: Path) -> None:
    pets(tmp_path, [])
    result = check(tmp_path)

    assert CheckResult.model_validate_json((tmp_path / "report/check.json").read_text()) == result


def test_all_missing_images_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    pets(tmp_path, [], names=("a.jpg", "b.jpg", "c.jpg"))
    (tmp_path / "train/a.jpg").unlink()
    (tmp_path / "train/c.jpg").unlink()
    result = check(tmp_path)

    with pytest.raises(DataError) as caught:
        result.raise_on_errors()

    assert caught.value.problem == (
        f"dataset 'pets', train: 2 of 3 images are missing, first: {tmp_path}/train/a.jpg"
    )
    assert caught.value.fix == "put them there, or list them in the split's 'exclude'"


def test_broken_json_and_missing_images_of_another_split_are_both_found(tmp_path: Path) -> None:
    pets(tmp_path, [])
    (tmp_path / "train.json").write_text('{"images": [')
    (tmp_path / "val/v.jpg").unlink()
    result = check(tmp_path)

    assert kinds(result)[0] == ["broken annotations", "missing"]
    with pytest.raises(DataError) as caught:
        result.raise_on_errors()
    assert "train.json is not valid JSON" in caught.value.problem
    assert "and 1 more problems, see" in caught.value.problem


def test_unmapped_classes_do_not_hide_missing_images(tmp_path: Path) -> None:
    pets(tmp_path, [])
    (tmp_path / "train/a.jpg").unlink()
    (tmp_path / "map.csv").write_text("source_id,source_name,unified_id\n0,cat,1\n")

    assert kinds(check(tmp_path))[0] == ["unmapped classes", "missing", "unmapped classes"]


def test_a_mapping_that_is_not_there_is_an_error_of_its_dataset(tmp_path: Path) -> None:
    pets(tmp_path, [])
    (tmp_path / "map.csv").unlink()

    assert set(kinds(check(tmp_path))[0]) == {"broken label mapping"}


def test_unreadable_damaged_and_resized_images_are_told_apart(tmp_path: Path) -> None:
    pets(tmp_path, [], names=("a.jpg", "b.jpg", "c.jpg"))
    (tmp_path / "train/a.jpg").write_text("<html>")
    (tmp_path / "train/b.jpg").write_bytes((tmp_path / "train/b.jpg").read_bytes()[:-200])
    paint(tmp_path / "train/c.jpg", (65, 48))
    errors = check(tmp_path).errors

    assert [item.kind for item in errors] == [
        "unreadable",
        "damaged",
        "of another size than annotated",
    ]
    assert "c.jpg is 65x48, annotated 64x48" in errors[2].problem


def test_damage_inside_an_image_is_found_by_decoding(tmp_path: Path) -> None:
    pets(tmp_path, [])
    paint(tmp_path / "train/a.jpg", format="PNG")
    data = bytearray((tmp_path / "train/a.jpg").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "train/a.jpg").write_bytes(data)

    assert kinds(check(tmp_path))[0] == []
    assert kinds(check(tmp_path, decode=True))[0] == ["damaged"]


def test_dirt_is_a_warning_by_name(tmp_path: Path) -> None:
    dirt = [annotation(0, DOG, [0, 0, 9, 0]), annotation(0, DOG, [99, 0, 9, 9])]
    twins = [annotation(1, DOG, [0, 0, 9, 9])] * 2
    pets(tmp_path, dirt + twins, names=("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"))
    paint(tmp_path / "train/c.jpg", mode="L")
    paint(tmp_path / "train/d.jpg", mode="CMYK")
    paint(tmp_path / "train/e.jpg", (48, 64), exif=turned(6))  # 64 x 48 once turned
    result = check(tmp_path)

    assert kinds(result) == (
        [],
        [
            "CMYK images",
            "boxes outside the image",
            "degenerate boxes",
            "exact duplicate boxes",
            "greyscale images",
            "images with an EXIF rotation",
        ],
    )
    assert str(result.warnings[2]) == (
        "dataset 'pets', train: degenerate boxes: 1, first: pets/a\n"
        "  fix: nothing to do: they are dropped"
    )


def test_a_validation_image_in_the_training_data_is_a_warning(tmp_path: Path) -> None:
    pets(tmp_path, [], names=("a.jpg", "b.jpg"))
    shutil.copy(tmp_path / "val/v.jpg", tmp_path / "train/b.jpg")
    result = check(tmp_path)

    assert result.leaks == (("pets/v", "pets/b"),)
    assert kinds(result) == ([], ["leaks"])
    assert "1 validation images are in the training data too" in result.warnings[0].problem


def test_files_that_differ_in_suffix_only_are_an_error(tmp_path: Path) -> None:
    pets(tmp_path, [], names=("a.jpg", "a.png"))

    assert kinds(check(tmp_path))[0] == ["named like another image"]


def test_the_digest_follows_the_data(tmp_path: Path) -> None:
    pets(tmp_path, [])
    before = check(tmp_path).catalog_digest
    data = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**data, "info": {}}))

    assert check(tmp_path).catalog_digest != before
