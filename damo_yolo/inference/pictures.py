"""Pictures as people have them: rotated by a tag, transparent, grey, of 16 bits, for print.

`images.read_image` returns pixels as stored, which is what annotations refer to. Here a person
looks at the result, so the picture is the one a viewer would show.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from damo_yolo import storage
from damo_yolo.errors import DataError

WHITE = (255, 255, 255, 255)
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
MAX_16_BIT = 65535
MAX_8_BIT = 255


def read_picture(source: str | Path | bytes) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB pixels, upright, on white where the picture is transparent.

    Raises:
        DataError: it is no picture, or it is broken.
        StorageError: nothing is at the location.
    """
    name = "the image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else storage.read_bytes(str(source))
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()  # a broken end shows here
            upright = ImageOps.exif_transpose(opened)
    except (
        OSError,
        UnidentifiedImageError,
        SyntaxError,  # Pillow's word for a broken PNG
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "unknown format" if unknown else " ".join(str(error).split())
        raise DataError(
            f"{name} cannot be decoded: {reason}", fix="give a JPEG, PNG, WebP, BMP or TIFF file"
        ) from None
    return np.array(_to_rgb(upright), np.uint8)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in DEEP_MODES:
        return _from_deep(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, WHITE), layer).convert("RGB")
    return picture.convert("RGB")


def _from_deep(picture: Image.Image) -> Image.Image:
    """Return a grey picture of 16 or more bits in 8: full scale stays full scale."""
    values = np.asarray(picture, np.float64)
    top = MAX_16_BIT if values.max(initial=0) > MAX_8_BIT else MAX_8_BIT
    grey = np.clip(values * (MAX_8_BIT / top), 0, MAX_8_BIT).round().astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
