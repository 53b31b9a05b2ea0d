"""COCO-format JSON (COCO, Objects365) -> images with objects.

Needed keys: images[id, file_name], annotations[image_id, category_id, bbox], categories[id, name].
Everything else (info, licenses, width, height, iscrowd, area, segmentation) may be missing.
Crowd regions carry run-length masks instead of outlines; their box is all that is read.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.source import (
    Findings,
    SourceImage,
    excluded_ids,
    parse_json,
    read_annotation,
    without_suffix,
)
from damo_yolo.errors import DataError

OBJECTS365_FOLDER = re.compile(r"^(?:\./)?images/v[12]/")
"""The 2020 json says images/v1/patch4/x.jpg where the archives hold patch4/x.jpg."""

NOT_IN_OBJECTS365_ARCHIVES = frozenset(
    {"objects365_v1_00320532", "objects365_v1_00320534", "objects365_v2_00908726"}
)
"""Images that the 2020 train json lists and no archive holds."""

LAYOUT_PROBES = 16
"""How many images are looked for before a folder layout is given up."""


@dataclass(frozen=True)
class CocoSource:
    """One JSON file, parsed."""

    classes: Mapping[str, str]
    entries: list[tuple[str, str, dict[str, Any]]]
    """Image id, image location and the json's image record, ordered by image id."""
    annotations: Mapping[str, list[dict[str, Any]]]
    """The json's annotations by the json's image id."""
    where: str
    """Dataset and file, for messages."""
    num_lost: int
    """Listed images that no Objects365 archive holds, not in `entries`."""
    strays: Mapping[str, int]
    """How many annotations name an image that the json does not list, by its id."""

    def images(self, findings: Findings) -> Iterator[SourceImage]:
        """Yield the images ordered by image id.

        Raises:
            DataError: an annotation has no category or no box of four numbers.
        """
        findings.note("images that no Objects365 archive holds", self.where, self.num_lost)
        for key in sorted(self.strays):
            where = f"{self.where}: image {key}"
            findings.note("annotations of unlisted images", where, self.strays[key])
        for image_id, image_uri, record in self.entries:
            objects = self.annotations.get(str(record["id"]), [])
            yield SourceImage(
                image_id=image_id,
                image_uri=image_uri,
                width=int(record.get("width") or 0),
                height=int(record.get("height") or 0),
                boxes=self._boxes(objects),
                source_ids=tuple(self._category(item) for item in objects),
                is_crowd=tuple(bool(item.get("iscrowd", 0)) for item in objects),
            )

    def _boxes(self, objects: list[dict[str, Any]]) -> NDArray[np.float64]:
        boxes = np.zeros((len(objects), 4))
        for row, item in enumerate(objects):
            try:
                left, top, width, height = (float(value) for value in item["bbox"])
            except (KeyError, TypeError, ValueError):
                raise DataError(
                    f"{self.where}: annotation {item.get('id', row)} has no bbox of four numbers:"
                    f" {item.get('bbox')!r}",
                    fix="correct or remove the annotation; bbox is [left, top, width, height]",
                ) from None
            boxes[row] = left, top, left + width, top + height
        return boxes

    def _category(self, item: dict[str, Any]) -> str:
        category = str(item.get("category_id"))
        if category not in self.classes:
            raise DataError(
                f"{self.where}: annotation {item.get('id')} has category {category},"
                " which 'categories' does not list",
                fix="add the category to the file, or correct the annotation",
            )
        return category


def open_coco(spec: DatasetSpec, split: SplitSpec) -> CocoSource:
    """Read a COCO-format JSON file; `spec.format` objects365 adds that dataset's quirks.

    Raises:
        DataError: the file is missing, is not JSON, lacks a needed key, or two images share an id.
    """
    where = f"dataset '{spec.name}', {split.annotations}"
    data = parse_json(read_annotation(split.annotations), where)
    try:
        classes = {str(item["id"]): str(item["name"]) for item in data["categories"]}
        records = [(item["file_name"], str(item["id"]), item) for item in data["images"]]
        annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for item in data["annotations"]:
            annotations[str(item["image_id"])].append(item)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{where}: a needed key is missing or of the wrong type: {error}",
            fix="give images (id, file_name), annotations (image_id, category_id, bbox)"
            " and categories (id, name)",
        ) from None
    _require_unique([key for _, key, _ in records], where)
    if spec.format == "objects365":
        entries = _objects365_entries(records, split.images)
    else:
        entries = [
            (without_suffix(name), storage.join(split.images, name), item)
            for name, _, item in records
        ]
    excluded = excluded_ids(spec, split)
    lost = NOT_IN_OBJECTS365_ARCHIVES if spec.format == "objects365" else frozenset()
    kept = [entry for entry in entries if entry[0] not in excluded | lost]
    return CocoSource(
        classes=classes,
        entries=sorted(kept, key=lambda entry: entry[0]),
        annotations=annotations,
        where=where,
        num_lost=sum(entry[0] in lost for entry in entries),
        strays={key: len(annotations[key]) for key in annotations.keys() - {r[1] for r in records}},
    )


def _require_unique(ids: list[str], where: str) -> None:
    seen: set[str] = set()
    for key in ids:
        if key in seen:
            raise DataError(f"{where}: two images have the id {key}", fix="remove one of them")
        seen.add(key)


def _objects365_entries(
    records: list[tuple[str, str, dict[str, Any]]], folder: str
) -> list[tuple[str, str, dict[str, Any]]]:
    names = [name for name, _, _ in records]
    layouts = (_as_listed, _as_archived, _base_name)
    layout = next(
        (layout for layout in layouts if _any_exists(folder, map(layout, names[:LAYOUT_PROBES]))),
        _as_listed,
    )
    return [
        (without_suffix(_base_name(name)), storage.join(folder, layout(name)), item)
        for name, _, item in records
    ]


def _any_exists(folder: str, names: Iterator[str]) -> bool:
    return any(storage.exists(storage.join(folder, name)) for name in names)


def _as_listed(name: str) -> str:
    return name


def _as_archived(name: str) -> str:
    return OBJECTS365_FOLDER.sub("", name)


def _base_name(name: str) -> str:
    return name.rpartition("/")[2]
