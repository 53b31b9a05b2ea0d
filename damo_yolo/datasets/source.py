"""What a format's reader hands over: images with objects in the dataset's own classes.

A reader knows its format and nothing else. Mapping into the label space, cleaning of boxes and
counting of dirt happen once, in `readers`, for all formats.

Shapes: N objects of an image.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.errors import DataError


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image as its dataset describes it."""

    image_id: str
    """Unique within the split; the record key is dataset/image_id."""
    image_uri: str
    width: int
    """Pixels; 0 where the annotations do not say."""
    height: int
    boxes: NDArray[np.float64]
    """(N, 4) xyxy, in pixels or in fractions of the image."""
    source_ids: tuple[str, ...]
    """(N,) the dataset's class ids."""
    is_crowd: tuple[bool, ...]
    """(N,) True for regions that hold several objects."""
    fractional: bool = False
    """Boxes are fractions of width and height."""
    upright: bool = False
    """Boxes refer to the view after the EXIF rotation, not to the stored pixels."""
    verified: frozenset[str] | None = None
    """Source ids somebody looked for; None: all classes of the dataset."""
    unknown: frozenset[str] = frozenset()
    """Source ids whose absence of boxes says nothing here."""


@dataclass
class Findings:
    """Dirt met on the way, by name: how often, and where first."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def note(self, kind: str, where: str, count: int = 1) -> None:
        """Count `count` cases of a kind, of which `where` is the first."""
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.first.setdefault(kind, where)


class Source(Protocol):
    """One split of a dataset, opened."""

    @property
    def classes(self) -> Mapping[str, str]:
        """Source id to name of every class that the dataset lists."""
        ...

    def images(self, findings: Findings) -> Iterator[SourceImage]:
        """Yield the images ordered by image id, counting dirt; may be called again."""
        ...


def read_ids(uri: str) -> list[str]:
    """Return the lines of a list file, blanks around them removed, empty lines skipped.

    Raises:
        DataError: nothing is at the location.
    """
    return [line.strip() for line in read_annotation(uri).splitlines() if line.strip()]


def excluded_ids(spec: DatasetSpec, split: SplitSpec) -> frozenset[str]:
    """Return the image ids that a split leaves out, however the list spells them.

    Raises:
        DataError: the list is missing.
    """
    if split.exclude is None:
        return frozenset()
    lines = [line.removeprefix(f"{spec.name}/") for line in read_ids(split.exclude)]
    return frozenset(lines) | frozenset(without_suffix(line) for line in lines)


def read_annotation(uri: str) -> str:
    """Return the text of an annotation file.

    Raises:
        DataError: nothing is there.
        StorageError: it cannot be read, or is not UTF-8.
    """
    require_file(uri)
    return storage.read_text(uri)


def require_file(uri: str) -> None:
    """Raise `DataError` unless a file is at the location."""
    if not storage.exists(uri):
        raise DataError(
            f"the annotation file {uri} is missing",
            fix="put it there, or correct the location in the catalog",
        )


def parse_json(text: str, where: str) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Raises:
        DataError: it is not JSON, with the position, or not an object.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            f" (character {error.pos} of {len(text)})",
            fix="fetch the file again, or correct it there",
        ) from None
    if not isinstance(data, dict):
        raise DataError(
            f"{where} holds a {type(data).__name__}, not an object",
            fix="check that the catalog names the right file",
        )
    return data


def files_by_stem(folder: str, *suffixes: str) -> dict[str, str]:
    """Return the files below a folder that end in a suffix, ordered by name.

    Returns:
        Path below the folder, without suffix, to location.

    Raises:
        DataError: two files differ in their suffix only.
    """
    root = folder.rstrip("/") if storage.is_remote(folder) else str(Path(folder))
    found: dict[str, str] = {}
    for uri in storage.list_uris(root):
        if uri.lower().endswith(suffixes):
            stem = without_suffix(uri[len(root) + 1 :])
            if stem in found:
                raise DataError(
                    f"{found[stem]} and {uri} have the same name but for the suffix",
                    fix="rename or remove one of them",
                )
            found[stem] = uri
    return dict(sorted(found.items()))


def without_suffix(name: str) -> str:
    """Return a file name or path without its last suffix."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and "/" not in suffix else name
