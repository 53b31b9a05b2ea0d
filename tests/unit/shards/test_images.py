"""Images come into shards as JPEGs that every decoder reads alike."""

import io

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from damo_yolo.errors import DataError
from damo_yolo.inference.pictures import read_picture
from damo_yolo.shards.images import ORIENTATION, plain_jpeg

WIDTH, HEIGHT = 64, 48


def picture(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Return a smooth picture, red to the left and blue to the bottom."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, blue = 255 * (1 - columns / width), 255 * rows / height
    return Image.fromarray(np.dstack((red, np.full_like(red, 60), blue)).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", *, orientation: int | None = None) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    image.save(file, kind, exif=exif.tobytes()) if orientation else image.save(file, kind)
    return file.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return pixels


def mean_difference(one: NDArray[np.uint8], other: Image.Image) -> float:
    return float(np.abs(one.astype(int) - np.asarray(other.convert("RGB")).astype(int)).mean())


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_plain_jpeg_is_kept_byte_for_byte(mode: str) -> None:
    data = encoded(picture().convert(mode))

    image = plain_jpeg(data, width=WIDTH, height=HEIGHT)

    assert image.data == data
    assert image.verbatim


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "CMYK")])
def test_other_formats_and_colours_become_rgb_jpegs_of_the_same_picture(
    kind: str, mode: str
) -> None:
    original = picture().convert(mode)

    image = plain_jpeg(encoded(original, kind), width=WIDTH, height=HEIGHT)

    assert not image.verbatim
    assert simplejpeg.decode_jpeg_header(image.data)[:3] == (HEIGHT, WIDTH, "YCbCr")
    assert mean_difference(decoded(image.data), original) < 3


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_what_is_transparent_is_white_as_it_is_to_a_model_that_predicts(mode: str) -> None:
    original = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    original.paste((0, 0, 0, 255), (0, 0, WIDTH // 2, HEIGHT))
    data = encoded(original.convert(mode), "PNG")

    image = plain_jpeg(data, width=WIDTH, height=HEIGHT)

    assert mean_difference(decoded(image.data), Image.fromarray(read_picture(data))) < 3
    assert decoded(image.data)[5, [5, WIDTH - 5]].mean(axis=1).tolist() == [0, 255]


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    grey = np.tile(np.arange(64, dtype=np.uint16) * 1000, (48, 1))
    data = encoded(Image.fromarray(grey), "PNG")

    image = plain_jpeg(data, width=WIDTH, height=HEIGHT)

    assert decoded(image.data)[24, 32, 0] == pytest.approx(32_000 // 256, abs=3)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_image_annotated_as_stored_loses_its_exif_and_keeps_its_pixels(
    orientation: int,
) -> None:
    data = encoded(picture(), orientation=orientation)

    image = plain_jpeg(data, width=WIDTH, height=HEIGHT)

    assert not image.verbatim
    assert (decoded(image.data) == decoded(data)).all()
    # OpenCV and every browser turn by EXIF: now they see what simplejpeg sees.
    seen = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None
    assert seen.shape == (HEIGHT, WIDTH, 3)
    assert (seen[..., ::-1] == decoded(image.data)).all()


def test_an_upright_exif_stays_where_it_is() -> None:
    data = encoded(picture(), orientation=1)

    assert plain_jpeg(data, width=WIDTH, height=HEIGHT).data == data


def test_a_turned_image_annotated_upright_is_turned() -> None:
    sideways = picture().transpose(Image.Transpose.ROTATE_90)  # stored 48 x 64
    data = encoded(sideways, orientation=6)  # to be shown turned back

    image = plain_jpeg(data, width=WIDTH, height=HEIGHT)

    assert mean_difference(decoded(image.data), picture()) < 3


def test_an_image_of_another_size_than_annotated_is_refused() -> None:
    with pytest.raises(DataError, match="it is 64 x 48 pixels, its record says 640 x 480"):
        plain_jpeg(encoded(picture()), width=640, height=480)


@pytest.mark.parametrize("kept", [0, 100, 600])
def test_a_truncated_image_is_refused(kept: int) -> None:
    data = encoded(picture())
    assert kept < len(data) - 50

    with pytest.raises(DataError, match="no readable image"):
        plain_jpeg(data[:kept], width=WIDTH, height=HEIGHT)


def test_a_text_file_is_refused() -> None:
    with pytest.raises(DataError, match="no readable image"):
        plain_jpeg(b"<html>not found</html>", width=WIDTH, height=HEIGHT)
