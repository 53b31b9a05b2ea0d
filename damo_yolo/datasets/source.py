"""What a format's reader hands over: chunks of images with objects in the dataset's own classes.

A reader knows its format and nothing else. Mapping into the label space, cleaning of boxes and
counting of dirt happen once, in `cleaning`, for all formats; there and here a chunk is columns, so
that the work per box is Arrow's and numpy's.

Shapes: I images of a chunk, N objects of them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.pairs import ClassPairs
from damo_yolo.errors import DataError
from damo_yolo.labels.classes import read_tree

UNSIZED = "sizes missing in the annotation, read from the image"
"""Kind of a finding."""

IMAGES_PER_CHUNK = 4096
"""What a reader hands over at once."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageChunk:
    """Some images as their dataset describes them, and their objects."""

    image_ids: list[str]
    """(I,) ascending; unique within the split; the record key is dataset/image_id."""
    image_uris: list[str]
    sizes: NDArray[np.int64]
    """(I, 2) width and height, pixels; 0 where the annotations do not say."""
    owners: NDArray[np.int64]
    """(N,) row of the image that each object is in, ascending."""
    boxes: NDArray[np.float64]
    """(N, 4) xyxy, in pixels or in fractions of the image."""
    codes: NDArray[np.int64]
    """(N,) place of each object's class among the source's classes."""
    is_crowd: NDArray[np.bool_]
    """(N,) True for regions that hold several objects."""
    fractional: bool = False
    """Boxes are fractions of width and height."""
    upright: bool = False
    """Boxes refer to the view after the EXIF rotation, not to the stored pixels."""
    verified: ClassPairs | None = None
    """Classes somebody looked for; None: all classes of the dataset."""
    unknown: ClassPairs = field(default_factory=ClassPairs.none)
    """Classes whose absence of boxes says nothing in an image."""

    def __len__(self) -> int:
        return len(self.image_ids)


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

    def update(self, later: "Findings") -> None:
        """Take in what was found later."""
        for kind, count in later.counts.items():
            self.note(kind, later.first[kind], count)

    def taken(self) -> "Findings":
        """Return what was found so far, and forget it."""
        found = Findings(self.counts, self.first)
        self.counts, self.first = {}, {}
        return found


class Source(Protocol):
    """One split of a dataset, opened."""

    @property
    def classes(self) -> Mapping[str, str]:
        """Source id to name of every class that the dataset lists; codes are places in it."""
        ...

    def chunks(self, findings: Findings) -> Iterator[ImageChunk]:
        """Yield all images ordered by image id, counting dirt; may be called again."""
        ...


class Opener(Protocol):
    """What a format's file offers: a split, opened for the length of a block."""

    def __call__(
        self, spec: DatasetSpec, split: SplitSpec, *, memory_mb: int
    ) -> AbstractContextManager[Source]:
        """Open a split; tables that join and sort stay within `memory_mb`."""
        ...


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image of a format that keeps a file for each."""

    image_id: str
    image_uri: str
    size: tuple[int, int]
    """Width and height, pixels; 0 where unstated."""
    objects: list[tuple[str, list[float]]]
    """Source id and xyxy of each object."""


def chunks_of(
    images: Iterable[AnnotatedImage], classes: Iterable[str], *, fractional: bool, upright: bool
) -> Iterator[ImageChunk]:
    """Gather images, ordered by image id, into chunks.

    Args:
        images: the images.
        classes: source ids of the dataset, in the order of their codes.
        fractional: boxes are fractions of width and height.
        upright: boxes refer to the view after the EXIF rotation.
    """
    codes = {source_id: code for code, source_id in enumerate(classes)}
    rows = iter(images)
    while group := list(islice(rows, IMAGES_PER_CHUNK)):
        objects = [item for image in group for item in image.objects]
        yield ImageChunk(
            image_ids=[image.image_id for image in group],
            image_uris=[image.image_uri for image in group],
            sizes=np.array([image.size for image in group], np.int64),
            owners=np.repeat(np.arange(len(group)), [len(image.objects) for image in group]),
            boxes=np.array([box for _, box in objects], np.float64).reshape(-1, 4),
            codes=np.array([codes[source_id] for source_id, _ in objects], np.int64),
            is_crowd=np.zeros(len(objects), bool),
            fractional=fractional,
            upright=upright,
        )


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


def class_tree(spec: DatasetSpec) -> dict[str, frozenset[str]]:
    """Return source id to all classes above it in the dataset's tree; empty where it has none.

    Raises:
        DataError: the file is missing or is no class tree.
    """
    if spec.hierarchy is None:
        return {}
    where = f"dataset '{spec.name}', {spec.hierarchy}"
    return read_tree(parse_json(read_annotation(spec.hierarchy), where), where=where)


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


def column(values: pa.ChunkedArray, dtype: type[Any]) -> NDArray[Any]:
    """Return a column without nulls as an array."""
    numbers: NDArray[Any] = values.to_numpy().astype(dtype, copy=False)
    return numbers
