from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from damo_yolo.errors import DataError, StorageError
from damo_yolo.inference.images import read_image, to_network_input
from damo_yolo.loading.decode import SampleDecoder
from damo_yolo.shards.read import RawSample
from tests.record_builders import make_manifest

RED = np.full((20, 30, 3), (200, 10, 20), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_files_and_bytes_give_the_same_rgb_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"red{suffix}"
    cv2.imwrite(str(path), RED[..., ::-1])

    pixels = read_image(path)

    assert np.abs(pixels.astype(int) - RED).max() <= 4
    assert np.array_equal(pixels, read_image(str(path)))
    assert np.array_equal(pixels, read_image(path.read_bytes()))
    assert read_image(pixels) is pixels


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello", encoding="utf-8")

    with pytest.raises(DataError, match=r"notes\.txt cannot be decoded"):
        read_image(path)
    with pytest.raises(DataError, match="the image cannot be decoded"):
        read_image(b"")
    with pytest.raises(StorageError, match="nothing is at"):
        read_image(tmp_path / "absent.jpg")


def test_a_truncated_jpeg_is_refused() -> None:
    data = simplejpeg.encode_jpeg(RED)

    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(data[: len(data) // 2])


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 4), (0, 30, 3)])
def test_arrays_of_another_form_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="array of shape"):
        read_image(np.zeros(shape, np.uint8))


def test_float_arrays_are_refused() -> None:
    with pytest.raises(DataError, match="type float64"):
        read_image(np.zeros((4, 4, 3)))  # type: ignore[arg-type] # what a user may give


def test_the_network_sees_the_same_pixels_as_in_evaluation() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    raw = RawSample(
        row=0,
        key="toy/0",
        dataset="toy",
        image=simplejpeg.encode_jpeg(image),
        width=70,
        height=50,
        boxes=np.zeros((0, 4), np.float32),
        class_ids=np.zeros(0, np.int64),
        is_crowd=np.zeros(0, np.bool_),
        known_ids=np.zeros(0, np.int64),
        unknown_ids=np.zeros(0, np.int64),
    )
    evaluated = SampleDecoder(make_manifest(1), 32, 1, {}).exact(raw).image

    predicted = to_network_input(read_image(raw.image), 32)

    assert predicted.shape == (3, 32, 32)
    assert np.array_equal(predicted.transpose(1, 2, 0), evaluated)
