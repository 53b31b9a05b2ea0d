"""What `predict` looks at: an image, a folder, a glob, a video, a camera. One frame at a time."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.datasets.images import SUFFIXES
from damo_yolo.errors import DamoYoloError, DataError, StorageError
from damo_yolo.inference.pictures import read_picture

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture to look at."""

    name: str
    """Path below the folder looked at, or `<video>/<number>`."""
    pixels: NDArray[np.uint8]
    """(H, W, 3) RGB, upright."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no picture, and why."""

    name: str
    problem: str


def is_stream(source: str) -> bool:
    """Tell whether a source is a video or a camera."""
    return source.isdigit() or Path(source).suffix.lower() in VIDEO_SUFFIXES


def folder_of(source: str) -> Path:
    """Return the folder that names of frames are relative to: of a pattern its fixed beginning."""
    path = Path(source)
    if path.is_dir():
        return path
    fixed = takewhile(lambda part: not any(mark in part for mark in "*?["), path.parent.parts)
    return Path(*fixed)


def frame_rate(source: str) -> float:
    """Return the frames per second that a video says it has; 25 where it says nothing."""
    capture = _open_stream(source)
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    capture.release()
    return rate if rate > 0 else 25.0


def read_frames(source: str) -> Iterator[Frame | Unreadable]:
    """Yield every picture of a source; a broken file is told and does not end the walk.

    Args:
        source: an image (local or s3://), a folder, a glob, a video, or the number of a camera.

    Raises:
        StorageError: nothing is there.
        DataError: a single image or video is broken, or a folder holds no image.
    """
    if is_stream(source):
        yield from _stream(source)
    elif storage.is_remote(source) or Path(source).is_file():
        yield Frame(Path(source).name, read_picture(source))
    else:
        yield from _files(source)


def _files(source: str) -> Iterator[Frame | Unreadable]:
    folder = Path(source)
    if folder.is_dir():
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        names = [str(path.relative_to(folder)) for path in paths]
    else:
        paths = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())  # noqa: PTH207 - the pattern may be absolute
        names = [str(path.relative_to(folder_of(source))) for path in paths]
        if not paths:
            raise StorageError(f"nothing is at {source}", fix="check the location or the pattern")
    if not paths:
        raise DataError(
            f"{source} holds no image", fix=f"put files there that end in {', '.join(SUFFIXES)}"
        )
    for path, name in zip(paths, names, strict=True):
        try:
            yield Frame(name, read_picture(path))
        except DamoYoloError as error:
            yield Unreadable(name, error.problem)


def _stream(source: str) -> Iterator[Frame]:
    capture = _open_stream(source)
    title = f"camera{source}" if source.isdigit() else Path(source).stem
    number = 0
    try:
        while True:
            there, blue_first = capture.read()
            if not there:
                break
            pixels = cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            yield Frame(f"{title}/{number:06d}", pixels)
            number += 1
    finally:
        capture.release()
    if not number:
        raise DataError(f"{source} gives no picture", fix="check that it plays elsewhere")


def _open_stream(source: str) -> cv2.VideoCapture:
    if not source.isdigit() and not Path(source).is_file():
        raise StorageError(f"nothing is at {source}", fix="check the location")
    capture = cv2.VideoCapture(int(source)) if source.isdigit() else cv2.VideoCapture(source)
    if not capture.isOpened():
        what = f"camera {source}" if source.isdigit() else source
        raise DataError(f"{what} cannot be opened", fix="check the device, or the file's format")
    return capture
