"""Open Images csv -> images with objects.

Columns are found by the header: releases have 8, 13 or 21 of them. Coordinates are fractions of the
image and no file gives image sizes, so they come from the image headers. Group-of boxes are crowds.

Boxes are drawn at the most specific class that somebody verified. So where there is a class tree,
the ancestors of a present class are unknown in that image. And where there are image-level labels,
only classes that somebody looked for are known, and a class seen but not boxed is unknown.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.source import (
    Findings,
    SourceImage,
    excluded_ids,
    parse_json,
    read_annotation,
    read_ids,
    require_file,
    without_suffix,
)
from damo_yolo.errors import DataError

CORNERS = ("XMin", "YMin", "XMax", "YMax")
COLUMN_TYPES = {
    "ImageID": pa.string(),
    "LabelName": pa.string(),
    "Confidence": pa.float64(),
    "IsGroupOf": pa.float64(),
    **dict.fromkeys(CORNERS, pa.float64()),
}
NO_ROWS = slice(0, 0)


@dataclass(frozen=True)
class RowsByImage:
    """The rows of a csv, sorted by image."""

    columns: Mapping[str, NDArray[Any]]
    """(R,) each, without ImageID."""
    rows: Mapping[str, slice]
    """Image id to its rows."""


@dataclass(frozen=True)
class OpenImagesSource:
    """Box rows and image-level labels of one split."""

    classes: Mapping[str, str]
    image_ids: tuple[str, ...]
    image_folder: str
    boxes: RowsByImage
    image_labels: RowsByImage | None
    ancestors: Mapping[str, frozenset[str]]
    num_unlisted: int
    """Boxes of classes that the class file does not list; they are not in `boxes`."""
    dataset: str

    def images(self, findings: Findings) -> Iterator[SourceImage]:
        """Yield the images ordered by image id."""
        findings.note("boxes of classes that the class file lacks", self.dataset, self.num_unlisted)
        mids = self.boxes.columns["LabelName"]
        corners = np.stack([self.boxes.columns[name] for name in CORNERS], axis=1)
        groups = self.boxes.columns["IsGroupOf"] > 0
        for image_id in self.image_ids:
            rows = self.boxes.rows.get(image_id, NO_ROWS)
            boxed = tuple(mids[rows])
            present, absent = self._verified(image_id)
            drawn = frozenset(boxed)
            above = (self.ancestors.get(mid, frozenset()) for mid in drawn | present)
            yield SourceImage(
                image_id=image_id,
                image_uri=storage.join(self.image_folder, f"{image_id}.jpg"),
                width=0,
                height=0,
                boxes=corners[rows],
                source_ids=boxed,
                is_crowd=tuple(bool(group) for group in groups[rows]),
                fractional=True,
                verified=None if self.image_labels is None else present | absent | drawn,
                unknown=frozenset().union(*above, present - drawn) & self.classes.keys(),
            )

    def _verified(self, image_id: str) -> tuple[frozenset[str], frozenset[str]]:
        """Return the classes that somebody saw in an image, and those looked for in vain."""
        if self.image_labels is None:
            return frozenset(), frozenset()
        rows = self.image_labels.rows.get(image_id, NO_ROWS)
        mids = self.image_labels.columns["LabelName"][rows]
        confidence = self.image_labels.columns["Confidence"][rows]
        return frozenset(mids[confidence == 1]), frozenset(mids[confidence == 0])


def open_openimages(spec: DatasetSpec, split: SplitSpec) -> OpenImagesSource:
    """Read the csv files of a split, sorted by image.

    Raises:
        DataError: a file is missing or broken, or lacks a needed column.
    """
    where = f"dataset '{spec.name}'"
    classes = _read_classes(spec.classes or "", where)
    boxes = _read_rows(split.annotations, ("ImageID", "LabelName", *CORNERS), where)
    if "IsGroupOf" not in boxes.column_names:
        boxes = boxes.append_column("IsGroupOf", pa.array(np.zeros(len(boxes))))
    labels = None
    if split.image_labels is not None:
        labels = _read_rows(split.image_labels, ("ImageID", "LabelName", "Confidence"), where)
    image_ids = {*_ids(boxes), *(_ids(labels) if labels is not None else ())}
    if split.image_set is not None:
        listed = (line.split(",")[0] for line in read_ids(split.image_set))
        image_ids |= {without_suffix(image_id) for image_id in listed if image_id != "ImageID"}
    filled = boxes.filter(pc.is_valid(boxes["LabelName"]))
    known = _of_classes(filled, classes)
    return OpenImagesSource(
        classes=classes,
        image_ids=tuple(sorted(image_ids - excluded_ids(spec, split))),
        image_folder=split.images,
        boxes=_by_image(known),
        image_labels=None if labels is None else _by_image(_of_classes(labels, classes)),
        ancestors=_read_ancestors(spec.hierarchy, where),
        num_unlisted=len(filled) - len(known),
        dataset=spec.name,
    )


def _read_classes(uri: str, where: str) -> dict[str, str]:
    rows = [row for row in csv.reader(io.StringIO(read_annotation(uri))) if row]
    classes = {row[0].strip(): row[1].strip() for row in rows if len(row) > 1}
    classes.pop("LabelName", None)  # some releases have a header
    if not classes:
        raise DataError(f"{where}: {uri} lists no class", fix="give lines of mid,name[,id]")
    return classes


def _read_rows(uri: str, needed: tuple[str, ...], where: str) -> pa.Table:
    require_file(uri)
    data = io.BytesIO(storage.read_bytes(uri)) if storage.is_remote(uri) else uri
    try:
        with pa_csv.open_csv(data) as reader:
            header = reader.schema.names
        missing = [name for name in needed if name not in header]
        if missing:
            raise DataError(
                f"{where}: {uri} lacks the columns {', '.join(missing)}",
                fix="keep the header line of the released file",
            )
        if storage.is_remote(uri):
            data = io.BytesIO(storage.read_bytes(uri))
        return pa_csv.read_csv(
            data,
            convert_options=pa_csv.ConvertOptions(
                column_types=COLUMN_TYPES,
                include_columns=[*needed, *(name for name in ("IsGroupOf",) if name in header)],
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{where}: {uri} is not a valid csv file: {' '.join(str(error).split())[:200]}",
            fix="fetch the file again, or correct that line",
        ) from None


def _ids(table: pa.Table) -> list[str]:
    ids: list[str] = pc.drop_null(pc.unique(table["ImageID"])).to_pylist()
    return ids


def _of_classes(table: pa.Table, classes: Mapping[str, str]) -> pa.Table:
    return table.filter(pc.is_in(table["LabelName"], pa.array(list(classes), pa.string())))


def _by_image(table: pa.Table) -> RowsByImage:
    ordered = table.take(pc.sort_indices(table["ImageID"]))  # stable: rows of an image keep order
    ids = ordered["ImageID"].to_numpy()
    starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))[: len(ids)]
    ends = [*starts[1:].tolist(), len(ids)]
    rows = {ids[start]: slice(start, end) for start, end in zip(starts, ends, strict=False)}
    names = [name for name in ordered.column_names if name != "ImageID"]
    return RowsByImage({name: _column(ordered[name]) for name in names}, rows)


def _column(values: pa.ChunkedArray) -> NDArray[Any]:
    if not pa.types.is_string(values.type):
        numbers: NDArray[Any] = values.to_numpy()
        return numbers
    encoded = values.combine_chunks().dictionary_encode()  # rows share the few distinct texts
    texts: NDArray[Any] = np.array(encoded.dictionary.to_pylist(), dtype=object)
    rows: NDArray[Any] = texts[encoded.indices.to_numpy()]
    return rows


def _read_ancestors(uri: str | None, where: str) -> dict[str, frozenset[str]]:
    """Return mid to all its ancestors in the class tree; a class may have several parents."""
    if uri is None:
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    stack = [(parse_json(read_annotation(uri), f"{where}, {uri}"), frozenset[str]())]
    while stack:
        node, above = stack.pop()
        mid = node.get("LabelName")
        if not isinstance(mid, str):
            raise DataError(f"{where}: {uri}: a node has no LabelName", fix="fetch the file again")
        found[mid] |= above
        # 'Part' children (a wheel of a car) are no kinds of their parent.
        stack += [(child, above | {mid}) for child in node.get("Subcategory", [])]
    return {mid: frozenset(above) for mid, above in found.items()}
