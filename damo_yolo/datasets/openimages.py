"""Open Images csv -> images with objects.

Columns are found by the header: releases have 8, 13 or 21 of them. Coordinates are fractions of the
image and no released file gives image sizes, so they come from the image headers, or from a csv of
one's own. Group-of boxes are crowds. The files stream into tables, which are joined and sorted.

Boxes are drawn at the most specific class that somebody verified. So where there is a class tree,
the ancestors of a present class are unknown in that image. And where there are image-level labels,
only classes that somebody looked for are known, and a class seen but not boxed is unknown.
"""

import csv
import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.pairs import ClassEdges, ClassPairs
from damo_yolo.datasets.source import (
    Findings,
    ImageChunk,
    class_tree,
    column,
    excluded_ids,
    read_annotation,
    read_ids,
    require_file,
    without_suffix,
)
from damo_yolo.datasets.tables import PlacedRows, fill, images_of, open_tables, place_images, quoted
from damo_yolo.errors import DataError

CORNERS = ("XMin", "YMin", "XMax", "YMax")
NUMBERS = (*CORNERS, "Confidence", "IsGroupOf", "Width", "Height")
OPTIONAL = ("IsGroupOf",)
KEYS = "trim(ImageID), trim(LabelName)"
CREATE = """
CREATE TABLE objects (ref VARCHAR, mid VARCHAR, x1 DOUBLE, y1 DOUBLE, x2 DOUBLE, y2 DOUBLE,
                      crowd BOOLEAN);
CREATE TABLE labels (ref VARCHAR, mid VARCHAR, confidence DOUBLE);
CREATE TABLE sizes (ref VARCHAR, width BIGINT, height BIGINT);
"""
OBJECTS_IN_ORDER = """
SELECT place, code, x1, y1, x2, y2, crowd
FROM objects JOIN placed USING (ref) JOIN classes USING (mid)
ORDER BY place, objects.rowid"""
LABELS_IN_ORDER = """
SELECT place, code, confidence FROM labels JOIN placed USING (ref) JOIN classes USING (mid)
ORDER BY place, labels.rowid"""


@dataclass(frozen=True, eq=False)
class OpenImagesSource:
    """Box rows and image-level labels of one split, in tables."""

    classes: Mapping[str, str]
    tables: duckdb.DuckDBPyConnection
    ancestors: ClassEdges
    """Codes of the classes above each class."""
    has_labels: bool
    num_unlisted: int
    """Boxes of classes that the class file does not list; they are left out."""
    unlisted: str
    """Such a class."""
    dataset: str

    def chunks(self, findings: Findings) -> Iterator[ImageChunk]:
        """Yield the images ordered by image id."""
        findings.note(
            "boxes of classes that the class file lacks",
            f"class {self.unlisted}",
            self.num_unlisted,
        )
        objects = PlacedRows(self.tables, OBJECTS_IN_ORDER)
        labels = PlacedRows(self.tables, LABELS_IN_ORDER)
        for first, images in images_of(self.tables):
            end = first + len(images)
            rows = objects.before(end)
            drawn = _pairs(rows, first)
            seen = labels.before(end)
            confidence = column(seen["confidence"], np.float64)
            present = _pairs(seen.filter(pa.array(confidence == 1)), first)
            absent = _pairs(seen.filter(pa.array(confidence == 0)), first)
            above = drawn.joined(present).followed(self.ancestors)
            corners = [column(rows[name], np.float64) for name in ("x1", "y1", "x2", "y2")]
            sizes = [column(images[name], np.int64) for name in ("width", "height")]
            yield ImageChunk(
                image_ids=images["image_id"].to_pylist(),
                image_uris=images["image_uri"].to_pylist(),
                sizes=np.stack(sizes, axis=1),
                owners=drawn.images,
                boxes=np.stack(corners, axis=1),
                codes=drawn.classes,
                is_crowd=column(rows["crowd"], np.bool_),
                fractional=True,
                verified=present.joined(absent, drawn) if self.has_labels else None,
                unknown=above.joined(present.without(drawn)),
            )


@contextmanager
def open_openimages(
    spec: DatasetSpec, split: SplitSpec, *, memory_mb: int
) -> Iterator[OpenImagesSource]:
    """Read the csv files of a split.

    Raises:
        DataError: a file is missing or broken, or lacks a needed column.
    """
    where = f"dataset '{spec.name}'"
    classes = _read_classes(spec.classes or "", where)
    ancestors = _ancestors(spec, list(classes))
    with open_tables(memory_mb) as tables:
        codes = pa.table({"code": pa.array(range(len(classes)), pa.int64()), "mid": list(classes)})
        tables.execute("CREATE TABLE classes (code BIGINT, mid VARCHAR)")
        fill(tables, "INSERT INTO classes SELECT * FROM batch", codes)
        _load(tables, split, where)
        _place(tables, spec, split)
        ((num_unlisted, unlisted),) = tables.sql(
            "SELECT count(*), min(mid) FROM objects ANTI JOIN classes USING (mid)"
            " WHERE mid IS NOT NULL"
        ).fetchall()
        yield OpenImagesSource(
            classes=classes,
            tables=tables,
            ancestors=ancestors,
            has_labels=split.image_labels is not None,
            num_unlisted=num_unlisted,
            unlisted=str(unlisted),
            dataset=spec.name,
        )


def _read_classes(uri: str, where: str) -> dict[str, str]:
    rows = [row for row in csv.reader(io.StringIO(read_annotation(uri))) if row]
    classes: dict[str, str] = {}
    for mid, name in ((row[0].strip(), row[1].strip()) for row in rows if len(row) > 1):
        if classes.setdefault(mid, name) != name:
            raise DataError(
                f"{where}: {uri} calls {mid} both '{classes[mid]}' and '{name}'",
                fix="keep one line for each class",
            )
    classes.pop("LabelName", None)  # some releases have a header
    if not classes:
        raise DataError(f"{where}: {uri} lists no class", fix="give lines of mid,name[,id]")
    return classes


def _load(tables: duckdb.DuckDBPyConnection, split: SplitSpec, where: str) -> None:
    """Fill the tables `objects`, `labels` and `sizes`, the last two perhaps with nothing."""
    tables.execute(CREATE)
    _insert(
        tables,
        split.annotations,
        ("ImageID", "LabelName", *CORNERS),
        f"objects SELECT {KEYS}, {', '.join(CORNERS)}, coalesce(IsGroupOf > 0, false)",
        where,
    )
    if split.image_labels is not None:
        needed = ("ImageID", "LabelName", "Confidence")
        _insert(tables, split.image_labels, needed, f"labels SELECT {KEYS}, Confidence", where)
    if split.image_sizes is not None:
        needed = ("ImageID", "Width", "Height")
        _insert(
            tables, split.image_sizes, needed, "sizes SELECT trim(ImageID), Width, Height", where
        )


def _insert(
    tables: duckdb.DuckDBPyConnection, uri: str, needed: tuple[str, ...], insert: str, where: str
) -> None:
    """Insert the rows of a csv into a table; what the csv lacks of `OPTIONAL` is null."""
    require_file(uri)
    with tempfile.TemporaryDirectory() as folder:
        path = storage.fetch(uri, Path(folder))
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            header = [name.strip() for name in next(csv.reader(file), [])]
        missing = [name for name in needed if name not in header]
        if missing:
            raise DataError(
                f"{where}: {uri} lacks the columns {', '.join(missing)}",
                fix="keep the header line of the released file",
            )
        types = {name: "DOUBLE" if name in NUMBERS else "VARCHAR" for name in header}
        absent = "".join(f", NULL AS {name}" for name in OPTIONAL if name not in header)
        rows = (
            f"read_csv({quoted(str(path))}, auto_detect = false, header = true, delim = ',',"
            f" quote = '\"', columns = {types})"
        )
        try:
            tables.execute(f"INSERT INTO {insert} FROM (SELECT *{absent} FROM {rows})")
        except duckdb.Error as error:
            raise DataError(
                f"{where}: {uri} is not a valid csv file: {_reason(error)}",
                fix="fetch the file again, or correct that line",
            ) from None


def _reason(error: duckdb.Error) -> str:
    """Return what duckdb says of a csv, without the options of its reader."""
    return " ".join(str(error).partition("Possible ")[0].split())[:200]


def _place(tables: duckdb.DuckDBPyConnection, spec: DatasetSpec, split: SplitSpec) -> None:
    """Give the images their order: those with boxes or labels, and those of the image set."""
    listed: list[str] = []
    if split.image_set is not None:
        lines = (line.split(",")[0] for line in read_ids(split.image_set))
        listed = [without_suffix(image_id) for image_id in lines if image_id != "ImageID"]
    for name, ids in (("listed", listed), ("excluded", sorted(excluded_ids(spec, split)))):
        batch = pa.table({"ref": pa.array(ids, pa.string())})
        fill(tables, f"CREATE TABLE {name} AS SELECT * FROM batch", batch)
    folder = quoted(storage.join(split.images, "_").removesuffix("_"))
    place_images(
        tables,
        f"""
        SELECT ref, ref AS image_id, {folder} || ref || '.jpg' AS image_uri,
            coalesce(width, 0) AS width, coalesce(height, 0) AS height
        FROM (SELECT ref FROM objects UNION SELECT ref FROM labels UNION SELECT ref FROM listed)
        LEFT JOIN (SELECT ref, max(width) AS width, max(height) AS height FROM sizes GROUP BY ref)
            USING (ref)
        WHERE ref IS NOT NULL AND ref NOT IN (SELECT ref FROM excluded)""",
    )


def _ancestors(spec: DatasetSpec, mids: list[str]) -> ClassEdges:
    """Return the codes of all classes above each in the tree; a class may have several parents."""
    above = class_tree(spec)
    codes = {mid: code for code, mid in enumerate(mids)}
    found = [above.get(mid, frozenset()) & codes.keys() for mid in mids]
    return ClassEdges.of([sorted(codes[parent] for parent in parents) for parents in found])


def _pairs(rows: pa.Table, first: int) -> ClassPairs:
    return ClassPairs(column(rows["place"], np.int64) - first, column(rows["code"], np.int64))
