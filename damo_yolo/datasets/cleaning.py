"""What happens to every dataset's images alike: sizes, pixels, dirt, unified ids.

Shapes: I images of a chunk, N objects of them, S classes of the dataset.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from damo_yolo.datasets.images import ImageHeader, read_header, upright_to_stored
from damo_yolo.datasets.pairs import CLASS_BITS, ClassEdges, ClassPairs
from damo_yolo.datasets.records import RECORD_SCHEMA, boxes_column, list_column
from damo_yolo.datasets.source import Findings, ImageChunk
from damo_yolo.labels.mapping import LabelMapping

CLIP_TOLERANCE_PX = 1.0
"""Boxes may reach this far out of the image without being counted: rounding."""

HEADERS_AT_ONCE = 16
"""Reading headers waits for the disk or the network most of the time."""

DROPPED = -1

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class UnifiedCodes:
    """A dataset's classes in unified ids, by code."""

    source_ids: pa.StringArray
    """(S,) the dataset's own ids, blanks around them removed."""
    unified: NDArray[np.int64]
    """(S,) unified id, `DROPPED` for classes that are."""
    also_unknown: ClassEdges
    """Unified ids that objects of a class leave unknown, by code."""

    @classmethod
    def of(cls, classes: Mapping[str, str], mapping: LabelMapping) -> Self:
        """Look up the classes of a source; raises `DataError` for one that is not mapped."""
        ids = [mapping.unified_id(source_id) for source_id in classes]
        return cls(
            source_ids=pa.array([source_id.strip() for source_id in classes], pa.string()),
            unified=np.array([DROPPED if i is None else i for i in ids], np.int64),
            also_unknown=ClassEdges.of([list(mapping.also_unknown(key)) for key in classes]),
        )

    @property
    def known_ids(self) -> NDArray[np.int64]:
        """Unified ids of the classes, ascending."""
        return np.unique(self.unified[self.unified != DROPPED])

    def unify(self, pairs: ClassPairs) -> ClassPairs:
        """Return pairs with unified ids instead of codes; dropped classes fall out."""
        unified = self.unified[pairs.classes]
        kept = unified != DROPPED
        return ClassPairs(pairs.images[kept], unified[kept])


def record_table(
    chunk: ImageChunk,
    dataset: str,
    classes: UnifiedCodes,
    *,
    findings: Findings,
    headers: Sequence[ImageHeader] | None = None,
) -> pa.Table:
    """Map, clean and complete images.

    Args:
        chunk: the images in the dataset's own terms.
        dataset: its name.
        classes: its classes in unified ids.
        findings: counts what is dropped or mended.
        headers: (I,) what the image files say, if already read.

    Returns:
        A row of `RECORD_SCHEMA` for each image.

    Raises:
        DataError: an image must be read for its size and cannot be.
    """
    keys = [f"{dataset}/{image_id}" for image_id in chunk.image_ids]
    sized = _in_pixels(chunk, headers)
    cleaned = _clean(sized, keys, findings)
    unified = classes.unified[cleaned.codes]
    kept = unified != DROPPED
    _note(findings, "boxes of ignored classes", ~kept, cleaned.owners, keys)
    cleaned, unified = _only(cleaned, kept), unified[kept]
    crowds, singles = (
        ClassPairs(cleaned.owners[rows], unified[rows])
        for rows in (cleaned.is_crowd, ~cleaned.is_crowd)
    )
    also = ClassPairs(chunk.owners, chunk.codes).followed(classes.also_unknown)
    unknown = crowds.without(singles).joined(also, classes.unify(chunk.unknown))
    counts = np.bincount(cleaned.owners, minlength=len(chunk))
    columns = {
        "key": pa.array(keys, pa.string()),
        "dataset": pa.array([dataset], pa.string()).take(pa.array(np.zeros(len(chunk), np.int8))),
        "image_uri": pa.array(chunk.image_uris, pa.string()),
        "width": pa.array(sized.sizes[:, 0], pa.int32()),
        "height": pa.array(sized.sizes[:, 1], pa.int32()),
        "boxes": boxes_column(cleaned.boxes.astype(np.float32), counts),
        "class_ids": list_column(pa.array(unified.astype(np.int32)), counts),
        "source_ids": list_column(pc.take(classes.source_ids, pa.array(cleaned.codes)), counts),
        "is_crowd": list_column(pa.array(cleaned.is_crowd), counts),
        "known_ids": _known(chunk, classes),
        "unknown_ids": _lists(unknown, len(chunk)),
    }
    return pa.table(columns, schema=RECORD_SCHEMA)


def select_images(chunk: ImageChunk, keep: NDArray[np.bool_]) -> ImageChunk:
    """Return the images where (I,) `keep` is True, and their objects."""
    place = np.cumsum(keep) - 1

    def moved(pairs: ClassPairs) -> ClassPairs:
        rows = keep[pairs.images]
        return ClassPairs(place[pairs.images[rows]], pairs.classes[rows])

    kept = _only(chunk, keep[chunk.owners])
    return replace(
        kept,
        image_ids=[text for text, wanted in zip(chunk.image_ids, keep, strict=True) if wanted],
        image_uris=[text for text, wanted in zip(chunk.image_uris, keep, strict=True) if wanted],
        sizes=chunk.sizes[keep],
        owners=place[kept.owners],
        verified=None if chunk.verified is None else moved(chunk.verified),
        unknown=moved(chunk.unknown),
    )


def _in_pixels(chunk: ImageChunk, headers: Sequence[ImageHeader] | None) -> ImageChunk:
    """Give the images their sizes, and boxes in pixels of a view of exactly that size.

    Where the EXIF rotation exchanges width and height, boxes of the upright view stay in it: its
    size tells the shard writer to turn the image. Where it cannot, they move to the stored view.
    """
    unsized = np.flatnonzero((chunk.sizes <= 0).any(axis=1)).tolist()
    sizes, boxes = chunk.sizes.copy(), chunk.boxes
    if headers is None:
        with ThreadPoolExecutor(HEADERS_AT_ONCE) as pool:
            found = list(pool.map(read_header, (chunk.image_uris[row] for row in unsized)))
    else:
        found = [headers[row] for row in unsized]
    for row, header in zip(unsized, found, strict=True):
        stored = header.width, header.height
        sizes[row] = header.upright_size if chunk.upright else stored
    if chunk.fractional:
        boxes = boxes * np.tile(sizes, 2)[chunk.owners]
    for row, header in zip(unsized, found, strict=True):
        turned_in_place = header.orientation != 1 and header.upright_size == (
            header.width,
            header.height,
        )
        if chunk.upright and turned_in_place:
            own = chunk.owners == row
            boxes[own] = upright_to_stored(boxes[own], header)
    return replace(chunk, sizes=sizes, boxes=boxes, fractional=False, upright=False)


def _clean(chunk: ImageChunk, keys: list[str], findings: Findings) -> ImageChunk:
    """Drop boxes without area, outside the image or repeated; clip the rest to the image."""
    boxes = chunk.boxes.astype(np.float32)
    finite = _all_of_each(np.isfinite(boxes))
    sound = finite & _all_of_each(boxes[:, 2:] > boxes[:, :2])
    limits = np.tile(chunk.sizes, 2)[chunk.owners].astype(np.float32)
    clipped = np.minimum(np.maximum(boxes, np.float32(0)), limits)
    inside = _all_of_each(clipped[:, 2:] > clipped[:, :2])
    shift = np.abs(np.where(finite[:, None], clipped - boxes, np.float32(0)))
    reach: Flags = sound & inside & (shift > CLIP_TOLERANCE_PX).any(axis=1)
    good: Flags = sound & inside
    first = np.ones(len(boxes), bool)
    first[good] = _first_of_each(_only(chunk, good), clipped[good])
    for kind, rows in (
        ("degenerate boxes", ~sound),
        ("boxes outside the image", sound & ~inside),
        ("boxes clipped to the image", reach),
        ("exact duplicate boxes", ~first),
    ):
        _note(findings, kind, rows, chunk.owners, keys)
    return _only(replace(chunk, boxes=clipped), good & first)


def _all_of_each(rows: Flags) -> Flags:
    """Return (N,) True for the rows that hold throughout."""
    held: Flags = np.logical_and.reduce(rows, axis=1)
    return held


def _first_of_each(chunk: ImageChunk, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (N,) True for the first of objects that agree in image, class, box, crowd flag."""
    corners = {f"corner{side}": boxes[:, side] + np.float32(0) for side in range(4)}  # -0 is 0
    flags = chunk.owners << CLASS_BITS | chunk.codes << 1 | chunk.is_crowd
    rows = pl.DataFrame({"flags": flags, **corners})
    first: NDArray[np.bool_] = (
        rows.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    )
    return first


def _only(chunk: ImageChunk, keep: NDArray[np.bool_]) -> ImageChunk:
    return replace(
        chunk,
        owners=chunk.owners[keep],
        boxes=chunk.boxes[keep],
        codes=chunk.codes[keep],
        is_crowd=chunk.is_crowd[keep],
    )


def _note(
    findings: Findings,
    kind: str,
    rows: NDArray[np.bool_],
    owners: NDArray[np.int64],
    keys: list[str],
) -> None:
    count = int(np.count_nonzero(rows))
    if count:
        findings.note(kind, keys[owners[np.argmax(rows)]], count)


def _known(chunk: ImageChunk, classes: UnifiedCodes) -> pa.Array:
    if chunk.verified is None:
        return pa.nulls(len(chunk), pa.list_(pa.int32()))
    return _lists(classes.unify(chunk.verified), len(chunk))


def _lists(pairs: ClassPairs, num_images: int) -> pa.ListArray:
    """Return the classes of each image as lists, ascending."""
    once = ClassPairs.from_packed(pairs.packed())
    counts = np.bincount(once.images, minlength=num_images)
    return list_column(pa.array(once.classes.astype(np.int32)), counts)
