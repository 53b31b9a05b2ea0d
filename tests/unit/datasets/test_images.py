"""Image headers: size and kind without decoding, EXIF rotation, damage."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from damo_yolo.datasets.images import (
    decodes,
    is_truncated,
    read_header,
    read_tail,
    upright_to_stored,
)
from damo_yolo.errors import DataError
from tests.unit.datasets.tiny import paint, turned


def test_the_header_tells_size_kind_and_bytes(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    paint(file, (30, 20), mode="L")
    header = read_header(str(file))

    assert (header.width, header.height) == (30, 20)
    assert (header.mode, header.format, header.orientation) == ("L", "JPEG", 1)
    assert header.num_bytes == file.stat().st_size


def test_cmyk_and_png_are_told_apart(tmp_path: Path) -> None:
    paint(tmp_path / "a.jpg", mode="CMYK")
    paint(tmp_path / "b.jpg", format="PNG")

    assert read_header(str(tmp_path / "a.jpg")).mode == "CMYK"
    assert read_header(str(tmp_path / "b.jpg")).format == "PNG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_upright_view_moves_to_the_stored_pixels(
    tmp_path: Path, orientation: int
) -> None:
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[3:9, 5:20] = 255  # x 5..20, y 3..9
    file = tmp_path / "a.png"
    Image.fromarray(stored).save(file, exif=turned(orientation))
    with Image.open(file) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))[..., 0]
    rows, columns = np.nonzero(upright)
    box = np.array([[columns.min(), rows.min(), columns.max() + 1.0, rows.max() + 1.0]])
    header = read_header(str(file))

    assert header.orientation == orientation
    assert header.upright_size == (upright.shape[1], upright.shape[0])
    assert upright_to_stored(box, header).tolist() == [[5, 3, 20, 9]]


def truncated(uri: str) -> bool:
    header = read_header(uri)
    return is_truncated(uri, header, read_tail(uri, header))


def test_a_jpeg_cut_short_is_found_and_a_whole_one_is_not(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jpg", tmp_path / "cut.jpg"
    paint(whole, (200, 200))
    cut.write_bytes(whole.read_bytes()[:-2000])

    assert not truncated(str(whole))
    assert truncated(str(cut))
    assert not decodes(str(cut))


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    paint(file)
    file.write_bytes(file.read_bytes() + b"\0" * 500)

    assert not truncated(str(file))


def test_missing_and_unreadable_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>not found</html>")

    with pytest.raises(DataError, match=r"a\.jpg cannot be read: not an image"):
        read_header(str(tmp_path / "a.jpg"))
    with pytest.raises(DataError, match=r"b\.jpg is missing"):
        read_header(str(tmp_path / "b.jpg"))
