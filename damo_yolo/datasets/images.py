"""What an image file says of itself, read without decoding it."""

import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from damo_yolo import storage
from damo_yolo.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

EXIF_ORIENTATION = 0x0112
JPEG_END = b"\xff\xd9"
TAIL_BYTES = 64

WHITE = (255, 255, 255, 255)
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
MAX_16_BIT = 65535
MAX_8_BIT = 255


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Size and kind of an image, from its first bytes."""

    width: int
    """Pixels as stored, before any EXIF rotation."""
    height: int
    mode: str
    """PIL's word: RGB, L (greyscale), CMYK, ..."""
    format: str
    """PIL's word: JPEG, PNG, ..."""
    orientation: int
    """EXIF orientation 1..8; 1: as stored."""
    num_bytes: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the view after the EXIF rotation."""
        swapped = self.orientation >= 5  # noqa: PLR2004 - 5..8 exchange the axes (EXIF 2.32, 4.6.4)
        return (self.height, self.width) if swapped else (self.width, self.height)


def read_header(uri: str) -> ImageHeader:
    """Return what the file says of itself; a remote file is fetched whole.

    Raises:
        DataError: nothing is there, or no image can be recognised in it.
    """
    try:
        if storage.is_remote(uri):
            data = storage.read_bytes(uri)
            return _header(io.BytesIO(data), len(data))
        with Path(uri).open("rb") as file:
            return _header(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise DataError(
            f"the image {uri} is missing", fix="put it there, or list it in the split's 'exclude'"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise _unreadable(uri, error) from None


def read_tail(uri: str, header: ImageHeader) -> bytes:
    """Return the last bytes of the file; they hardly ever agree in different photographs."""
    size = min(TAIL_BYTES, header.num_bytes)
    return storage.read_range(uri, offset=header.num_bytes - size, size=size)


def is_truncated(uri: str, header: ImageHeader, tail: bytes) -> bool:
    """Tell whether a JPEG ends early: its end marker is missing and it does not decode."""
    return header.format == "JPEG" and JPEG_END not in tail and not decodes(uri)


def decodes(uri: str) -> bool:
    """Tell whether every pixel of the image can be decoded."""
    try:
        with Image.open(io.BytesIO(storage.read_bytes(uri))) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def upright_to_stored(boxes: NDArray[np.float64], header: ImageHeader) -> NDArray[np.float64]:
    """Move (N, 4) xyxy pixel boxes from the view after the EXIF rotation to the stored pixels.

    Args:
        boxes: boxes on the upright view.
        header: the image; its orientation says how a viewer turns it (EXIF 2.32, 4.6.4).
    """
    x1, y1, x2, y2 = boxes.T
    width, height = header.width, header.height
    corners = {
        2: (width - x2, y1, width - x1, y2),
        3: (width - x2, height - y2, width - x1, height - y1),
        4: (x1, height - y2, x2, height - y1),
        5: (y1, x1, y2, x2),
        6: (y1, height - x2, y2, height - x1),
        7: (width - y2, height - x2, width - y1, height - x1),
        8: (width - y2, x1, width - y1, x2),
    }.get(header.orientation, (x1, y1, x2, y2))
    return np.stack(corners, axis=1)


def in_rgb(picture: Image.Image) -> Image.Image:
    """Return a picture of any mode in RGB: on white where it is transparent, 16 bits scaled to 8.

    Shards are written and pictures to predict on are read through here, so that a model meets what
    it was trained on.
    """
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


def _header(file: IO[bytes], num_bytes: int) -> ImageHeader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
        with Image.open(file) as image:
            # Pillow would decode a PNG to look for EXIF data behind its pixels.
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
            orientation = int(exif.get(EXIF_ORIENTATION, 1) or 1)
            width, height = image.size
            return ImageHeader(
                width=width,
                height=height,
                mode=image.mode,
                format=image.format or "",
                orientation=orientation if orientation in range(1, 9) else 1,
                num_bytes=num_bytes,
            )


def _unreadable(uri: str, error: Exception) -> DataError:
    reason = str(error) if not isinstance(error, UnidentifiedImageError) else "not an image"
    return DataError(
        f"the image {uri} cannot be read: {reason}",
        fix="fetch it again, or list it in the split's 'exclude'",
    )
