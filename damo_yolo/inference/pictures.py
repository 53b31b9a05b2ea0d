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
from damo_yolo.datasets.images import in_rgb
from damo_yolo.errors import DataError


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
    return np.array(in_rgb(upright), np.uint8)
