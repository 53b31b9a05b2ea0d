import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from damo_yolo.errors import DataError, StorageError
from damo_yolo.inference.pictures import read_picture

ORIENTATION = 0x0112
RED = (200, 10, 20)


def encoded(picture: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


def test_a_rotation_tag_is_applied() -> None:
    picture = Image.new("RGB", (30, 20), (0, 0, 255))
    picture.paste(RED, (0, 0, 15, 20))  # the left half is red
    tag = Image.Exif()
    tag[ORIENTATION] = 6  # to be turned clockwise for viewing: left becomes top

    pixels = read_picture(encoded(picture, "PNG", exif=tag))

    assert pixels.shape == (30, 20, 3)
    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[-1, 0]) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_places_become_white(mode: str) -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 2, 4))
    kind = "TIFF" if mode == "PA" else "PNG"
    stored = picture if mode == "PA" else picture.convert(mode)

    pixels = read_picture(encoded(stored, kind))

    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[0, 3].tolist() == [255, 255, 255]


def test_a_palette_with_a_transparent_colour_is_read() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((1, 0), 1)

    pixels = read_picture(encoded(picture, "PNG", transparency=0))

    assert pixels[0].tolist() == [[255, 255, 255], [0, 255, 0]]


def test_grey_values_stand_in_all_three_colours() -> None:
    pixels = read_picture(encoded(Image.new("L", (3, 2), 77), "PNG"))

    assert pixels.shape == (2, 3, 3)
    assert (pixels == 77).all()


def test_sixteen_bits_keep_their_full_scale() -> None:
    values = np.array([[0, 32768, 65535]], np.uint16)

    pixels = read_picture(encoded(Image.fromarray(values), "PNG"))

    assert pixels[0, :, 0].tolist() == [0, 128, 255]  # 32768 * 255 / 65535 = 127.5


def test_print_colours_become_rgb() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))

    pixels = read_picture(encoded(cyan, "JPEG"))

    assert np.abs(pixels[0, 0].astype(int) - (0, 255, 255)).max() <= 4


def test_broken_and_foreign_files_are_named(tmp_path: Path) -> None:
    whole = encoded(Image.effect_noise((64, 64), 50).convert("RGB"), "PNG")
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.jpg").write_text("hello", encoding="utf-8")

    with pytest.raises(DataError, match=r"half\.png cannot be decoded"):
        read_picture(tmp_path / "half.png")
    with pytest.raises(DataError, match=r"notes\.jpg cannot be decoded: unknown format"):
        read_picture(tmp_path / "notes.jpg")
    with pytest.raises(StorageError, match="nothing is at"):
        read_picture(tmp_path / "absent.jpg")
