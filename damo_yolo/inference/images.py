"""Images as users hold them, and as a detector takes them."""

from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.augment.geometry import resize_image
from damo_yolo.errors import DataError

ImageSource = str | Path | bytes | NDArray[np.uint8]
"""A location, the bytes of an image file, or (H, W, 3) RGB pixels."""


def read_image(source: ImageSource) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB pixels, as stored: orientation tags are not applied.

    Raises:
        DataError: the bytes are no image, or the array is not (H, W, 3) uint8.
        StorageError: nothing is at the location.
    """
    if isinstance(source, np.ndarray):
        return _checked(source)
    name = "the image" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else storage.read_bytes(str(source))
    if simplejpeg.is_jpeg(data):
        return _decode_jpeg(data, name)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    blue_first = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if blue_first is None:
        raise _broken(name, "unknown format")
    return cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def to_network_input(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return (3, size, size): stretched as in training and evaluation, RGB 0..255."""
    resized = resize_image(image, width=size, height=size)
    return np.ascontiguousarray(resized.transpose(2, 0, 1))


def _decode_jpeg(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError as error:
        if "extraneous bytes" not in str(error):
            raise _broken(name, str(error)) from None
        pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False)  # cameras do that
    return pixels


def _checked(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.shape[2:] != (3,) or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"the image is an array of shape {image.shape} and type {image.dtype}",
            fix="give (height, width, 3) RGB values of type uint8",
        )
    return image


def _broken(name: str, reason: str) -> DataError:
    return DataError(
        f"{name} cannot be decoded: {reason}", fix="give a JPEG, PNG, WebP, BMP or TIFF file"
    )
