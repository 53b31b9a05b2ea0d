"""What was found, in the forms that others read: pictures, video, COCO JSON, YOLO txt, csv."""

import csv
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import StorageError
from damo_yolo.inference.draw import PICTURE_SUFFIXES, draw_detections
from damo_yolo.inference.predictor import NamedDetection
from damo_yolo.inference.sources import Frame

OutputForm = Literal["pictures", "video", "coco", "yolo", "csv"]


class Writer(Protocol):
    """Takes frames as they come."""

    def add(self, frame: Frame, found: Sequence[NamedDetection]) -> None:
        """Take what was found in one frame."""

    def close(self) -> list[Path]:
        """Finish, and return what was written."""


class PictureWriter:
    """Each frame with its boxes, as JPEG or PNG."""

    def __init__(self, folder: Path, *, only: Path | None = None) -> None:
        """Write below a folder, under the frame's name; `only`: the one file to write."""
        self._folder, self._only = folder, only
        self._written: dict[Path, None] = {}  # in order

    def add(self, frame: Frame, found: Sequence[NamedDetection]) -> None:
        """Draw and write."""
        name = Path(frame.name)
        suffix = name.suffix if name.suffix.lower() in PICTURE_SUFFIXES else ".jpg"
        path = self._only or _unused(self._folder / name, suffix, self._written)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_picture(path, draw_detections(frame.pixels, found))
        self._written[path] = None

    def close(self) -> list[Path]:
        """Return the pictures."""
        return list(self._written)


class VideoWriter:
    """All frames with their boxes, as one MP4."""

    def __init__(self, path: Path, *, frames_per_s: float) -> None:
        """Write to a file at a pace."""
        self._path, self._rate = path, frames_per_s
        self._video: cv2.VideoWriter | None = None

    def add(self, frame: Frame, found: Sequence[NamedDetection]) -> None:
        """Draw and append."""
        drawn = draw_detections(frame.pixels, found, min_side=1)
        if self._video is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            size = (drawn.shape[1], drawn.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._video = cv2.VideoWriter(str(self._path), codec, self._rate, size)
        self._video.write(drawn[..., ::-1])

    def close(self) -> list[Path]:
        """Finish the file."""
        if self._video is None:
            return []
        self._video.release()
        return [self._path]


class CocoWriter:
    """One JSON in COCO's form, each annotation with its score."""

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        """Write to a file when all frames have come; category ids are class ids."""
        self._path = path
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [{"id": i, "name": name} for i, name in enumerate(class_names)]

    def add(self, frame: Frame, found: Sequence[NamedDetection]) -> None:
        """Take one frame."""
        height, width = frame.pixels.shape[:2]
        number = len(self._images) + 1
        image = {"id": number, "file_name": frame.name, "width": width, "height": height}
        self._images.append(image)
        for item in found:
            x1, y1, x2, y2 = item.box
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": item.class_id,
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": 0,
                    "score": round(item.score, 5),
                }
            )

    def close(self) -> list[Path]:
        """Write the file."""
        content = {
            "images": self._images,
            "categories": self._categories,
            "annotations": self._annotations,
        }
        storage.write_text(str(self._path), json.dumps(content))
        return [self._path]


class YoloWriter:
    """One txt a frame: class, centre and size as shares of the picture, score."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        """Write below a folder; `classes.txt` there names the numbers."""
        self._folder = folder
        names_path = folder / "classes.txt"
        self._written: dict[Path, None] = {names_path: None}  # in order
        storage.write_text(str(names_path), "\n".join(class_names) + "\n")

    def add(self, frame: Frame, found: Sequence[NamedDetection]) -> None:
        """Write one frame's lines; an empty file where nothing was found."""
        height, width = frame.pixels.shape[:2]
        lines = []
        for item in found:
            x1, y1, x2, y2 = item.box
            shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width)
            values = (*shares, (y2 - y1) / height, item.score)
            lines.append(" ".join([str(item.class_id), *(f"{value:.6f}" for value in values)]))
        path = _unused(self._folder / frame.name, ".txt", self._written)
        storage.write_text(str(path), "".join(f"{line}\n" for line in lines))
        self._written[path] = None

    def close(self) -> list[Path]:
        """Return the files."""
        return list(self._written)


class CsvWriter:
    """One table: image, class, score, corners in pixels."""

    def __init__(self, path: Path) -> None:
        """Write to a file as frames come."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("w", encoding="utf-8", newline="")
        self._table = csv.writer(self._file)
        self._table.writerow(["image", "class_id", "name", "score", "x1", "y1", "x2", "y2"])

    def add(self, frame: Frame, found: Sequence[NamedDetection]) -> None:
        """Write one row per object."""
        for item in found:
            corners = [f"{value:.2f}" for value in item.box]
            row = [frame.name, item.class_id, item.name, f"{item.score:.5f}", *corners]
            self._table.writerow(row)

    def close(self) -> list[Path]:
        """Finish the file."""
        self._file.close()
        return [self._path]


def _unused(path: Path, suffix: str, taken: Collection[Path]) -> Path:
    """Return the path with another suffix: `a.txt`, or `a.png.txt` where `a.jpg` took that."""
    usual = path.with_suffix(suffix)
    return path.with_name(path.name + suffix) if usual in taken else usual


def _write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    done = cv2.imencode(path.suffix, pixels[..., ::-1])
    if not done[0]:
        raise StorageError(f"{path} cannot be written", fix="choose a name that ends in .jpg")
    path.write_bytes(done[1].tobytes())
