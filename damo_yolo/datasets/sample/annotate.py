"""What the datasets say of the drawn images, each in its own format and of its own classes only.

Objects of other classes are in the pixels and in no file: absence of a box is no evidence there.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from damo_yolo.datasets.sample.canvas import DrawnObject
from damo_yolo.datasets.sample.classes import (
    CLASSES,
    COCO,
    OBJECTS365,
    OPENIMAGES,
    OPENIMAGES_ROOT,
    SampleClass,
)

BOX_COLUMNS = (
    *("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"),
    *("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"),
)
LABEL_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence")
OCCLUDED_FROM = 0.03
"""Covered part from which an object counts as occluded."""
OUTLINE_TOLERANCE_PX = 0.7
MIN_OUTLINE_POINTS = 3

LICENCE = {
    "id": 1,
    "name": "Attribution 4.0 International",
    "url": "https://creativecommons.org/licenses/by/4.0/",
}


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """An image as a dataset lists it."""

    id: int
    """Number of a COCO-format file; unused in Open Images."""
    stem: str
    """File name without folder and suffix; the ImageID of Open Images."""
    file_name: str
    """As the annotation file names it."""
    width: int
    height: int
    objects: tuple[DrawnObject, ...]
    verified: frozenset[int] | None = None
    """Indices into CLASSES that somebody looked for; None: the format does not say."""


@dataclass(frozen=True, slots=True)
class JsonDialect:
    """How a COCO-format JSON of one dataset names classes and describes objects."""

    description: str
    category: Callable[[SampleClass], dict[str, Any] | None]
    """Entry of the category list, None for classes it does not annotate."""
    details: Callable[[DrawnImage, DrawnObject], dict[str, Any]]
    """Fields of an annotation besides id, image, category, bbox, area and crowd flag."""


def coco_json(images: Sequence[DrawnImage], dialect: JsonDialect) -> bytes:
    """Return a COCO-format file; only the categories that the sample annotates are listed."""
    categories = {
        index: entry
        for index, item in enumerate(CLASSES)
        if (entry := dialect.category(item)) is not None
    }
    annotations = [
        {
            "id": 0,
            "image_id": image.id,
            "category_id": categories[item.index]["id"],
            "bbox": [*item.box[:2], *item.mask.shape[::-1]],
            "area": int(item.mask.sum()),
            "iscrowd": int(item.is_group),
            **dialect.details(image, item),
        }
        for image in images
        for item in image.objects
        if item.index in categories
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    content = {
        "info": {"description": dialect.description, "version": "1.0", "year": 2026},
        "licenses": [LICENCE],
        "images": [
            {
                "id": image.id,
                "file_name": image.file_name,
                "width": image.width,
                "height": image.height,
                "license": 1,
            }
            for image in images
        ],
        "annotations": annotations,
        "categories": sorted(categories.values(), key=lambda entry: int(entry["id"])),
    }
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _coco_category(item: SampleClass) -> dict[str, Any] | None:
    entry = COCO.get(item.unified_id)
    return None if entry is None else entry._asdict()


def _objects365_category(item: SampleClass) -> dict[str, Any] | None:
    entry = OBJECTS365.get(item.unified_id)
    return None if entry is None else entry._asdict()


def _unified_category(item: SampleClass) -> dict[str, Any]:
    return {"id": item.unified_id, "name": item.name}


def _outline(image: DrawnImage, item: DrawnObject) -> dict[str, Any]:
    """Return the segmentation: polygons, or run lengths of a crowd region, as COCO has them."""
    if item.is_group:
        full = np.zeros((image.height, image.width), np.uint8)
        full[item.box.region] = item.mask
        return {"segmentation": {"counts": run_lengths(full), "size": [image.height, image.width]}}
    contours, _ = cv2.findContours(
        item.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    simple = (cv2.approxPolyDP(contour, OUTLINE_TOLERANCE_PX, closed=True) for contour in contours)
    polygons = [
        (np.reshape(points, (-1, 2)) + item.box[:2]).ravel().tolist()
        for points in simple
        if len(points) >= MIN_OUTLINE_POINTS
    ]
    return {"segmentation": polygons}


def _flags(_image: DrawnImage, _item: DrawnObject) -> dict[str, Any]:
    return {"isfake": 0, "isreflected": 0}


_ONLY = "Rendered sample; lists only the categories that it annotates, with their official ids"
COCO_DIALECT = JsonDialect(f"{_ONLY} of COCO 2017", _coco_category, _outline)
OBJECTS365_DIALECT = JsonDialect(f"{_ONLY} of Objects365 2020", _objects365_category, _flags)
FULL_DIALECT = JsonDialect(
    "Rendered sample; every object of every class annotated, unified ids",
    _unified_category,
    _outline,
)


def run_lengths(mask: NDArray[np.uint8]) -> list[int]:
    """Return COCO's run lengths of a (H, W) 0/1 mask: column by column, zeros first.

    >>> run_lengths(np.array([[0, 1], [1, 1]], np.uint8))
    [1, 3]
    """
    flat = np.concatenate(([0], mask.ravel(order="F"), [2]))
    ends = np.flatnonzero(np.diff(flat))
    lengths = np.diff(ends, prepend=0)
    return [int(length) for length in lengths]


def openimages_boxes(images: Iterable[DrawnImage]) -> bytes:
    """Return the box csv, 13 columns: objects of the classes verified for their image."""
    rows = []
    for image in images:
        for item in image.objects:
            if item.index not in (image.verified or ()):
                continue
            named = OPENIMAGES[CLASSES[item.index].unified_id]
            x1, y1, x2, y2 = item.box
            corners = (x1 / image.width, x2 / image.width, y1 / image.height, y2 / image.height)
            flags = (item.covered >= OCCLUDED_FROM, item.is_cut, item.is_group, False, False)
            rows.append(
                [
                    *(image.stem, "xclick", named.mid, 1),
                    *(f"{value:.6f}" for value in corners),
                    *(int(flag) for flag in flags),
                ]
            )
    return _csv(BOX_COLUMNS, rows)


def openimages_image_labels(images: Iterable[DrawnImage]) -> bytes:
    """Return the csv of verified image-level labels: Confidence 1 present, 0 absent."""
    rows = []
    for image in images:
        present = {item.index for item in image.objects}
        for index in sorted(image.verified or ()):
            named = OPENIMAGES[CLASSES[index].unified_id]
            rows.append([image.stem, "verification", named.mid, int(index in present)])
    return _csv(LABEL_COLUMNS, rows)


def openimages_classes() -> bytes:
    """Return the class file, mid and name without a header, ordered by mid."""
    return _csv(None, sorted([item.mid, item.name] for item in OPENIMAGES.values()))


def openimages_hierarchy() -> bytes:
    """Return the part of the official class tree that leads to the sample's classes."""
    tree: dict[str, Any] = {"LabelName": OPENIMAGES_ROOT, "Subcategory": []}
    for item in OPENIMAGES.values():
        node = tree
        for mid in (*item.ancestors.split(), item.mid):
            children = node.setdefault("Subcategory", [])
            found = [child for child in children if child["LabelName"] == mid]
            if not found:
                found = [{"LabelName": mid}]
                children += found
            node = found[0]
    return json.dumps(tree, indent=2).encode() + b"\n"


def _csv(header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
