"""Validation images that come up in training."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from damo_yolo.datasets.leaks import LeakFinder
from tests.unit.datasets.tiny import paint


def found(finder: LeakFinder, val: list[Path], train: list[Path]) -> list[tuple[str, str]]:
    for path in val:
        finder.add("val", f"v/{path.stem}", str(path), num_bytes=path.stat().st_size)
    for path in train:
        finder.add("train", f"t/{path.stem}", str(path), num_bytes=path.stat().st_size)
    return finder.pairs()


def test_a_copy_under_another_name_is_found(tmp_path: Path) -> None:
    paint(tmp_path / "a.bmp", seed=1)
    paint(tmp_path / "b.bmp", seed=2)  # as many bytes, other content
    shutil.copy(tmp_path / "a.bmp", tmp_path / "c.bmp")
    val, train = [tmp_path / "a.bmp"], [tmp_path / "b.bmp", tmp_path / "c.bmp"]

    assert found(LeakFinder(), val, train) == [("v/a", "t/c")]


def test_a_picture_saved_anew_is_found_by_its_look_only(tmp_path: Path) -> None:
    waves = np.sin(np.arange(240)[:, None] / 17) * np.cos(np.arange(320) / 29)
    picture = Image.fromarray((127 + 120 * waves).astype(np.uint8)).convert("RGB")
    picture.save(tmp_path / "a.jpg", quality=95)
    picture.resize((160, 120)).save(tmp_path / "b.jpg", quality=60)
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "c.jpg")
    val, train = [tmp_path / "a.jpg"], [tmp_path / "b.jpg", tmp_path / "c.jpg"]

    assert found(LeakFinder(), val, train) == []
    assert found(LeakFinder(similar=True), val, train) == [("v/a", "t/b")]
