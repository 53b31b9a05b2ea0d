"""Every format through one door: a dataset's split -> records in unified ids.

Shapes: N objects of an image.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from damo_yolo import boxes as geometry
from damo_yolo.datasets.catalog import DatasetSpec, Format, Split, SplitSpec
from damo_yolo.datasets.coco import open_coco
from damo_yolo.datasets.images import ImageHeader, read_header, upright_to_stored
from damo_yolo.datasets.openimages import open_openimages
from damo_yolo.datasets.source import Findings, Source, SourceImage
from damo_yolo.datasets.voc import open_voc
from damo_yolo.datasets.yolo import open_yolo
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import ImageRecord

OPENERS: dict[Format, Callable[[DatasetSpec, SplitSpec], Source]] = {
    "coco": open_coco,
    "objects365": open_coco,
    "openimages": open_openimages,
    "voc": open_voc,
    "yolo": open_yolo,
}

CLIP_TOLERANCE_PX = 1.0
"""Boxes may reach this far out of the image without being counted: rounding."""


def open_source(spec: DatasetSpec, split: Split) -> Source | None:
    """Open a split in its format, None where the dataset has no such split.

    Raises:
        DataError: an annotation file is missing or broken.
    """
    where = spec.split(split)
    return None if where is None else OPENERS[spec.format](spec, where)


def read_dataset(
    spec: DatasetSpec,
    split: Split,
    mapping: LabelMapping,
    space: LabelSpace,
    *,
    findings: Findings | None = None,
) -> Iterator[ImageRecord]:
    """Yield the records of a split ordered by image id; nothing where there is no such split.

    Args:
        spec: the dataset.
        split: which part of it.
        mapping: its classes in unified ids.
        space: the label space that the mapping leads to.
        findings: counts the dirt met on the way.

    Raises:
        DataError: an annotation is missing or broken, a class is unmapped, or the size of an
            image is nowhere to be read.
    """
    source = open_source(spec, split)
    if source is not None:
        mapping.require(source.classes, dataset=spec.name)
        assert all(place < len(space) for place in mapping.known_ids)
        found = Findings() if findings is None else findings
        for image in source.images(found):
            yield record_of(image, spec.name, mapping, findings=found)


def record_of(
    image: SourceImage,
    dataset: str,
    mapping: LabelMapping,
    *,
    findings: Findings,
    header: ImageHeader | None = None,
) -> ImageRecord:
    """Map, clean and complete one image.

    Args:
        image: the image in the dataset's own terms.
        dataset: its name.
        mapping: its classes in unified ids.
        findings: counts what is dropped or mended.
        header: what the image file says, if already read.

    Raises:
        DataError: a class is unmapped, or the image must be read for its size and cannot.
    """
    key = f"{dataset}/{image.image_id}"
    image = _in_pixels(image, header)
    cleaned = _clean(image, key, findings)
    ids = [mapping.unified_id(source_id) for source_id in cleaned.source_ids]
    kept = _only(cleaned, np.array([place is not None for place in ids], bool))
    findings.note("boxes of ignored classes", key, ids.count(None))
    class_ids = np.array([place for place in ids if place is not None], np.int32)
    is_crowd = np.array(kept.is_crowd, bool)
    seen_as_crowd_only = set(class_ids[is_crowd].tolist()) - set(class_ids[~is_crowd].tolist())
    also = (mapping.also_unknown(source_id) for source_id in set(image.source_ids))
    unknown = seen_as_crowd_only.union(mapping.known_of(image.unknown).tolist(), *also)
    return ImageRecord(
        key=key,
        dataset=dataset,
        image_uri=image.image_uri,
        width=image.width,
        height=image.height,
        boxes=kept.boxes.astype(np.float32),
        class_ids=class_ids,
        source_ids=tuple(source_id.strip() for source_id in kept.source_ids),
        is_crowd=is_crowd,
        known_ids=None if image.verified is None else mapping.known_of(image.verified),
        unknown_ids=np.array(sorted(unknown), np.int32),
    )


def _in_pixels(image: SourceImage, header: ImageHeader | None) -> SourceImage:
    """Give the image its size, and its boxes in pixels of a view of exactly that size.

    Where the EXIF rotation exchanges width and height, boxes of the upright view stay in it: its
    size tells the shard writer to turn the image. Where it cannot, they move to the stored view.
    """
    if image.width > 0 and image.height > 0 and not image.fractional:
        return image
    header = header or read_header(image.image_uri)
    stored = header.width, header.height
    width, height = header.upright_size if image.upright else stored
    boxes = image.boxes
    if image.fractional:
        boxes = boxes * np.array([width, height, width, height])
    if image.upright and (width, height) == stored:
        boxes = upright_to_stored(boxes, header)
    return replace(image, width=width, height=height, boxes=boxes, fractional=False, upright=False)


def _clean(image: SourceImage, key: str, findings: Findings) -> SourceImage:
    """Drop boxes without area, outside the image or repeated; clip the rest to the image."""
    boxes = image.boxes.astype(np.float32)
    finite = np.all(np.isfinite(boxes), axis=1)
    sound = finite & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    findings.note("degenerate boxes", key, int((~sound).sum()))
    clipped = geometry.clip(boxes, width=image.width, height=image.height)
    inside = np.all(clipped[:, 2:] > clipped[:, :2], axis=1)
    findings.note("boxes outside the image", key, int((sound & ~inside).sum()))
    shift = np.abs(np.where(finite[:, None], clipped - boxes, np.float32(0)))
    reach = sound & inside & np.any(shift > CLIP_TOLERANCE_PX, axis=1)
    findings.note("boxes clipped to the image", key, int(reach.sum()))
    first = _first_of_each(image, clipped)
    findings.note("exact duplicate boxes", key, int((sound & inside & ~first).sum()))
    return _only(replace(image, boxes=clipped.astype(np.float64)), sound & inside & first)


def _first_of_each(image: SourceImage, boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (N,) True for the first of objects that agree in class, box and crowd flag."""
    seen: set[tuple[object, ...]] = set()
    first = np.ones(len(boxes), bool)
    objects = zip(image.source_ids, image.is_crowd, map(tuple, boxes.tolist()), strict=True)
    for row, item in enumerate(objects):
        first[row] = item not in seen
        seen.add(item)
    return first


def _only(image: SourceImage, keep: NDArray[np.bool_]) -> SourceImage:
    return replace(
        image,
        boxes=image.boxes[keep],
        source_ids=tuple(value for value, kept in zip(image.source_ids, keep, strict=True) if kept),
        is_crowd=tuple(value for value, kept in zip(image.is_crowd, keep, strict=True) if kept),
    )
