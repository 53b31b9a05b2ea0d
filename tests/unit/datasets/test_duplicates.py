"""Pictures that come twice: in validation and training, in two datasets, anew in another size."""

import shutil
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from damo_yolo.datasets.catalog import Split
from damo_yolo.datasets.duplicates import (
    Print,
    find_matches,
    near_pairs,
    perceptual_hash,
    table_of_prints,
)
from tests.unit.datasets.tiny import paint


def found(files: Mapping[str, tuple[Split, Path]], *, similar: bool) -> list[tuple[str, str, str]]:
    """Return first key, second key and kind of each match of images by key."""
    prints = [
        Print(
            key=key,
            uri=str(path),
            split=split,
            num_bytes=path.stat().st_size,
            tail=0,  # all alike: the content decides
            look=perceptual_hash(str(path)) if similar else None,
        )
        for key, (split, path) in files.items()
    ]
    matches = find_matches(table_of_prints(prints))
    return [(match.first.key, match.second.key, match.kind) for match in matches]


@pytest.fixture
def picture() -> Image.Image:
    waves = np.sin(np.arange(240)[:, None] / 17) * np.cos(np.arange(320) / 29)
    return Image.fromarray((127 + 120 * waves).astype(np.uint8)).convert("RGB")


def test_a_copy_under_another_name_is_found_and_the_val_image_comes_first(tmp_path: Path) -> None:
    paint(tmp_path / "a.bmp", seed=1)
    paint(tmp_path / "b.bmp", seed=2)  # as many bytes, other content
    shutil.copy(tmp_path / "a.bmp", tmp_path / "c.bmp")
    files: dict[str, tuple[Split, Path]] = {
        "d/b": ("train", tmp_path / "b.bmp"),
        "d/c": ("train", tmp_path / "c.bmp"),
        "v/a": ("val", tmp_path / "a.bmp"),
    }

    assert found(files, similar=False) == [("v/a", "d/c", "exact")]


def test_a_picture_saved_anew_is_found_by_its_look_only(
    tmp_path: Path, picture: Image.Image
) -> None:
    picture.save(tmp_path / "a.jpg", quality=95)
    picture.resize((160, 120)).save(tmp_path / "b.jpg", quality=60)
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "c.jpg")
    files: dict[str, tuple[Split, Path]] = {
        f"{name}/x": ("train", tmp_path / f"{name}.jpg") for name in "abc"
    }

    assert found(files, similar=False) == []
    assert found(files, similar=True) == [("a/x", "b/x", "near")]


def test_a_large_group_names_every_image_but_not_every_pair(tmp_path: Path) -> None:
    paint(tmp_path / "a.bmp")
    files: dict[str, tuple[Split, Path]] = {
        f"d/{n:03}": ("train", tmp_path / "a.bmp") for n in range(100)
    }

    assert found(files, similar=False) == [("d/000", f"d/{n:03}", "exact") for n in range(1, 100)]


def test_near_hashes_are_those_that_comparing_all_pairs_finds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300, dtype=np.uint64)
    near = hashes[:60].copy()
    for bit in range(60):  # up to 6 bits apart, 4 of them count
        for flip in rng.choice(64, bit % 7, replace=False).tolist():
            near[bit] ^= np.uint64(1 << flip)
    together = np.unique(np.concatenate((hashes, near)))
    expected = [
        [i, j]
        for i, j in combinations(range(len(together)), 2)
        if int(together[i] ^ together[j]).bit_count() <= 4
    ]

    assert len(expected) >= 30
    assert near_pairs(together).tolist() == expected
