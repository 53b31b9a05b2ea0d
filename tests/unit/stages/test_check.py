"""The check stage: everything wrong is found, named once, and ends in one sentence."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from damo_yolo.cli.main import app
from damo_yolo.errors import DataError
from damo_yolo.stages.check import CheckResult, check_catalog
from tests.unit.datasets.tiny import (
    annotation,
    coco_spec,
    paint,
    pets,
    turned,
    write_catalog,
    write_coco,
)

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


def test_classes_that_only_share_an_id_with_the_mapping_are_named(tmp_path: Path) -> None:
    pets(tmp_path, [])
    (tmp_path / "map.csv").write_text("source_id,source_name,unified_id\n0,cat,1\n7,lorry,0\n")
    result = check(tmp_path)

    assert kinds(result) == ([], ["classes named otherwise in the label mapping"] * 2)
    assert f"1, first: {DOG} is 'dog' here and 'lorry' in " in result.warnings[0].problem
    assert "the mapping that these ids belong to" in result.warnings[0].fix


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
    assert (
        "validation images that are in the training data too: 1, first: pets/v"
        in result.warnings[0].problem
    )


def two_datasets(folder: Path) -> Path:
    """Write `pets` and `zoo`, where a zoo image is a pets val image saved anew, smaller."""
    for name in ("pets", "zoo"):
        (folder / name).mkdir()
        write_coco(folder / name, [], names=("1.jpg", "2.jpg"))
        write_coco(folder / name, [], names=("v.jpg",), split="val")
    data = json.loads((folder / "zoo/train.json").read_text())
    for image in data["images"]:
        del image["width"], image["height"]
    (folder / "zoo/train.json").write_text(json.dumps(data))
    for seed, path in enumerate(sorted(folder.rglob("*.jpg"))):
        smooth_picture(seed).save(path)
    specs = [
        coco_spec(
            name=name,
            **{
                split: {"annotations": f"{name}/{split}.json", "images": f"{name}/{split}"}
                for split in ("train", "val")
            },
        )
        for name in ("pets", "zoo")
    ]
    return write_catalog(folder, *specs)


def smooth_picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)


def test_a_leak_and_a_near_duplicate_across_datasets_are_found(tmp_path: Path) -> None:
    two_datasets(tmp_path)
    with Image.open(tmp_path / "pets/val/v.jpg") as picture:
        picture.resize((48, 36)).save(tmp_path / "zoo/train/1.jpg", quality=60)
    with Image.open(tmp_path / "pets/train/2.jpg") as picture:
        picture.resize((96, 72)).save(tmp_path / "zoo/train/2.jpg", quality=90)
    result = check(tmp_path, similar=True)

    assert result.errors == ()
    assert [(pair.kind, pair.first, pair.second) for pair in result.matches] == [
        ("near leaks", "pets/v", "zoo/1"),
        ("near duplicates across datasets", "pets/2", "zoo/2"),
    ]
    assert [item.kind for item in result.warnings] == [
        "sizes missing in the annotation, read from the image",
        *(pair.kind for pair in result.matches),
    ]
    assert result.warnings[1].fix.startswith("look at them; list what is one picture in the")
    assert check(tmp_path).matches == ()


def test_equal_files_in_two_datasets_and_in_one_are_told_apart(tmp_path: Path) -> None:
    two_datasets(tmp_path)
    shutil.copy(tmp_path / "pets/train/1.jpg", tmp_path / "zoo/train/2.jpg")
    shutil.copy(tmp_path / "pets/train/1.jpg", tmp_path / "pets/train/2.jpg")
    found = [(pair.kind, pair.first, pair.second) for pair in check(tmp_path).matches]

    assert found == [
        ("duplicates across datasets", "pets/1", "zoo/2"),
        ("duplicates across datasets", "pets/2", "zoo/2"),
        ("duplicates within a dataset", "pets/1", "pets/2"),
    ]


def test_the_page_shows_problems_and_pairs_without_leaving_the_file(tmp_path: Path) -> None:
    two_datasets(tmp_path)
    shutil.copy(tmp_path / "pets/val/v.jpg", tmp_path / "zoo/train/1.jpg")
    (tmp_path / "pets/train/1.jpg").unlink()
    result = check(tmp_path, page=True)
    page = Path(result.page_uri).read_text()

    assert "1 of 2 images are missing" in page
    assert "validation images that are in the training data too: 1" in page
    assert page.count("data:image/jpeg;base64,") == 1  # both pictures, side by side
    assert re.search(r"Can the datasets be used\?</h3>\s*<strong>No</strong>", page)
    assert re.search(r"Are validation pictures trained on\?</h3>\s*<strong>It seems so: 1<", page)
    assert page.index("To look at</h2>") < page.index("Taken care of</h2>")
    assert "http" not in page
    assert "<script" not in page


def test_the_command_exits_with_what_it_found(tmp_path: Path) -> None:
    two_datasets(tmp_path)
    run = partial(CliRunner().invoke, app)
    order = ["check", str(tmp_path / "catalog.yaml"), "--out", str(tmp_path / "out")]

    assert run(order).exit_code == 0
    shutil.copy(tmp_path / "pets/val/v.jpg", tmp_path / "zoo/train/1.jpg")
    warned = run([*order, "--html"])
    assert warned.exit_code == 0
    assert "warning: validation images that are in the training data too: 1" in warned.stdout
    assert (tmp_path / "out/check.html").exists()
    assert run([*order, "--strict"]).exit_code == 1
    (tmp_path / "pets/train/1.jpg").unlink()
    failed = run([*order, "--json", "--strict"])
    assert failed.exit_code == 2
    assert [item["kind"] for item in json.loads(failed.stdout)["errors"]] == ["missing"]


def test_a_split_without_images_is_an_error(tmp_path: Path) -> None:
    pets(tmp_path, [])
    write_coco(tmp_path, [], names=(), split="val")
    (error,) = check(tmp_path).errors

    assert (error.kind, error.split) == ("no images", "val")
    assert error.problem == "dataset 'pets', val: there is no image"


def test_files_that_differ_in_suffix_only_are_an_error(tmp_path: Path) -> None:
    pets(tmp_path, [], names=("a.jpg", "a.png"))

    assert kinds(check(tmp_path))[0] == ["named like another image"]


def test_the_digest_follows_the_data(tmp_path: Path) -> None:
    pets(tmp_path, [])
    before = check(tmp_path).catalog_digest
    data = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**data, "info": {}}))

    assert check(tmp_path).catalog_digest != before
