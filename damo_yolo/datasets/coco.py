"""COCO-format JSON (COCO, Objects365) -> images with objects.

Needed keys: images[id, file_name], annotations[image_id, category_id, bbox], categories[id, name].
Everything else (info, licenses, width, height, iscrowd, area, segmentation) may be missing, and the
arrays may come in any order. Crowd regions carry run-length masks instead of outlines; their box is
all that is read. The file streams into tables; images and annotations are joined and sorted there.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.json_objects import JsonObjects, ObjectTexts
from damo_yolo.datasets.source import (
    UNSIZED,
    Findings,
    ImageChunk,
    column,
    excluded_ids,
    require_file,
)
from damo_yolo.datasets.tables import PlacedRows, fill, images_of, open_tables, place_images, quoted
from damo_yolo.errors import DataError

NOT_IN_OBJECTS365_ARCHIVES = frozenset(
    {"objects365_v1_00320532", "objects365_v1_00320534", "objects365_v2_00908726"}
)
"""Images that the 2020 train json lists and no archive holds."""

AS_LISTED = "file_name"
AS_ARCHIVED = r"regexp_replace(file_name, '^(\./)?images/v[12]/', '')"
"""The 2020 json says images/v1/patch4/x.jpg where the archives hold patch4/x.jpg."""
BASE_NAME = "regexp_replace(file_name, '^.*/', '')"

POSSIBLE = "width BETWEEN 1 AND 1e9 AND height BETWEEN 1 AND 1e9"
"""SQL for a size that an image can have; NaN is greater than all numbers."""

LAYOUT_PROBES = 16
"""How many images are looked for before a folder layout is given up."""

CHUNKS_PER_COMMIT = 16
"""What is not committed stays in memory, beyond the database's own limit."""

NEEDED_KEYS = (
    "give images (id, file_name), annotations (image_id, category_id, bbox) and categories"
    " (id, name)"
)

CREATE = """
CREATE TABLE images (ref VARCHAR, file_name VARCHAR, width DOUBLE, height DOUBLE);
CREATE TABLE objects (ref VARCHAR, category VARCHAR, x1 DOUBLE, y1 DOUBLE, x2 DOUBLE, y2 DOUBLE,
                      crowd BOOLEAN);
CREATE TABLE categories (code BIGINT, source_id VARCHAR);
CREATE TABLE excluded (image_id VARCHAR);
"""
# Ids are taken as text: files have numbers, some have strings.
INSERTS = {
    "images": """
INSERT INTO images SELECT item.id, item.file_name, item.width, item.height FROM (
    SELECT json_transform(text,
        '{"id": "VARCHAR", "file_name": "VARCHAR", "width": "DOUBLE", "height": "DOUBLE"}') AS item
    FROM batch)""",
    "annotations": """
INSERT INTO objects SELECT item.image_id, item.category_id, item.bbox[1], item.bbox[2],
    item.bbox[1] + item.bbox[3],
    CASE WHEN len(item.bbox) = 4 THEN item.bbox[2] + item.bbox[4] END,
    coalesce(item.iscrowd, '0') NOT IN ('0', 'false', '0.0', '')
FROM (
    SELECT json_transform(text, '{"image_id": "VARCHAR", "category_id": "VARCHAR",
        "bbox": ["DOUBLE"], "iscrowd": "VARCHAR"}') AS item
    FROM batch)""",
}
OBJECTS_IN_ORDER = """
SELECT place, code, x1, y1, x2, y2, crowd
FROM objects JOIN placed USING (ref) JOIN categories ON category = source_id
ORDER BY place, objects.rowid"""


@dataclass(frozen=True, eq=False)
class CocoSource:
    """One JSON file, in tables."""

    classes: Mapping[str, str]
    tables: duckdb.DuckDBPyConnection
    where: str
    """Dataset and file, for messages."""
    num_lost: int
    """Listed images that no Objects365 archive holds, not among the images."""

    def chunks(self, findings: Findings) -> Iterator[ImageChunk]:
        """Yield the images ordered by image id."""
        findings.note("images that no Objects365 archive holds", self.where, self.num_lost)
        self._note_dirt(findings)
        objects = PlacedRows(self.tables, OBJECTS_IN_ORDER)
        for first, images in images_of(self.tables):
            rows = objects.before(first + len(images))
            corners = [column(rows[name], np.float64) for name in ("x1", "y1", "x2", "y2")]
            yield ImageChunk(
                image_ids=images["image_id"].to_pylist(),
                image_uris=images["image_uri"].to_pylist(),
                sizes=np.stack(
                    [column(images[name], np.int64) for name in ("width", "height")], axis=1
                ),
                owners=column(rows["place"], np.int64) - first,
                boxes=np.stack(corners, axis=1),
                codes=column(rows["code"], np.int64),
                is_crowd=column(rows["crowd"], np.bool_),
            )

    def _note_dirt(self, findings: Findings) -> None:
        count, first = _row(
            self.tables, "SELECT count(*), min(image_uri) FROM placed WHERE width = 0"
        )
        findings.note(UNSIZED, str(first), count)
        count, first = _row(
            self.tables, "SELECT count(*), min(ref) FROM objects ANTI JOIN images USING (ref)"
        )
        findings.note("annotations of unlisted images", f"{self.where}: image {first}", count)


@contextmanager
def open_coco(spec: DatasetSpec, split: SplitSpec, *, memory_mb: int) -> Iterator[CocoSource]:
    """Read a COCO-format JSON file; `spec.format` objects365 adds that dataset's quirks.

    Raises:
        DataError: the file is missing, is not JSON, lacks a needed key, two images share an id, or
            an annotation has an unlisted category or no box of four numbers.
    """
    where = f"dataset '{spec.name}', {split.annotations}"
    require_file(split.annotations)
    with open_tables(memory_mb) as tables:
        with tempfile.TemporaryDirectory() as folder:
            path = storage.fetch(split.annotations, Path(folder))
            classes = _load(tables, path, where)
            _verify(tables, path, where)
        num_lost = _place(tables, spec, split)
        yield CocoSource(classes, tables, where, num_lost)


def _load(tables: duckdb.DuckDBPyConnection, path: Path, where: str) -> dict[str, str]:
    """Fill the tables from the file; return its categories, id to name."""
    file = JsonObjects(path, where)
    categories: list[dict[str, Any]] = []
    tables.execute(CREATE)
    tables.begin()
    for number, chunk in enumerate(_ahead(file.chunks()), start=1):
        if chunk.name in INSERTS:
            _insert(tables, chunk, file)
            if number % CHUNKS_PER_COMMIT == 0:
                tables.commit()
                tables.begin()
        elif chunk.name == "categories":
            try:
                categories += [json.loads(text.as_buffer().to_pybytes()) for text in chunk.texts]
            except ValueError:
                raise file.broken_text(chunk) from None
    rest = file.rest()
    for name in (*INSERTS, "categories"):
        if rest.get(name) != []:
            raise _unfit(where, f"'{name}' is no list of objects")
    classes = _classes(categories, where)
    codes = pa.table({"code": pa.array(range(len(classes)), pa.int64()), "id": list(classes)})
    fill(tables, "INSERT INTO categories SELECT * FROM batch", codes)
    tables.commit()
    return classes


def _classes(categories: list[dict[str, Any]], where: str) -> dict[str, str]:
    """Return id to name, both as text."""
    classes: dict[str, str] = {}
    for item in categories:
        key, name = item.get("id"), item.get("name")
        if key is None or name is None or not str(name).strip():
            raise _unfit(where, f"'{'id' if key is None else 'name'}' of the category {item}")
        if classes.setdefault(str(key), str(name)) != str(name):
            raise DataError(
                f"{where}: category {key} is both '{classes[str(key)]}' and '{name}'",
                fix="give one of them an id of its own",
            )
    return classes


def _ahead(chunks: Iterator[ObjectTexts]) -> Iterator[ObjectTexts]:
    """Yield the same, the next being read while one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


def _insert(tables: duckdb.DuckDBPyConnection, chunk: ObjectTexts, file: JsonObjects) -> None:
    try:
        fill(tables, INSERTS[chunk.name], pa.table({"text": chunk.texts}))
    except (duckdb.InvalidInputException, duckdb.TransactionException):
        # It says what, but not where in the file; and the second is all that it says of bad UTF-8.
        raise file.broken_text(chunk) from None


def _verify(tables: duckdb.DuckDBPyConnection, path: Path, where: str) -> None:
    """Raise `DataError` on the first image or annotation that cannot be used."""
    if (row := _first(tables, "images WHERE ref IS NULL OR file_name IS NULL")) is not None:
        item = _object_at(path, "images", row)
        missing = next(name for name in ("id", "file_name") if item.get(name) is None)
        raise _unfit(where, f"'{missing}'")
    twice = _row(
        tables,
        "SELECT min(ref) FROM (SELECT ref FROM images GROUP BY ref HAVING count(*) > 1)",
    )
    if twice != (None,):
        raise DataError(f"{where}: two images have the id {twice[0]}", fix="remove one of them")
    for name, column_name in (("image_id", "ref"), ("category_id", "category")):
        if (row := _first(tables, f"objects WHERE {column_name} IS NULL")) is not None:
            raise _unfit(where, f"'{name}' of {_object_at(path, 'annotations', row)}")
    if (row := _first(tables, "objects WHERE x1 + y1 + x2 + y2 IS NULL")) is not None:
        item = _object_at(path, "annotations", row)
        raise DataError(
            f"{where}: annotation {item.get('id', f'number {row + 1}')} has no bbox of four"
            f" numbers: {item.get('bbox')!r}",
            fix="correct or remove the annotation; bbox is [left, top, width, height]",
        )
    wrong = "objects ANTI JOIN categories ON category = source_id"
    if (row := _first(tables, wrong)) is not None:
        item = _object_at(path, "annotations", row)
        raise DataError(
            f"{where}: annotation {item.get('id', f'number {row + 1}')} has category"
            f" {item.get('category_id')}, which 'categories' does not list",
            fix="add the category to the file, or correct the annotation",
        )


def _place(tables: duckdb.DuckDBPyConnection, spec: DatasetSpec, split: SplitSpec) -> int:
    """Give the images their ids, locations and order; return how many no archive holds."""
    name, identity = AS_LISTED, AS_LISTED
    lost: frozenset[str] = frozenset()
    if spec.format == "objects365":
        name, identity = _layout(tables, split.images), BASE_NAME
        lost = NOT_IN_OBJECTS365_ARCHIVES
    excluded = sorted(excluded_ids(spec, split) | lost)
    ids = pa.table({"image_id": pa.array(excluded, pa.string())})
    fill(tables, "INSERT INTO excluded SELECT * FROM batch", ids)
    listed = (
        rf"SELECT *, regexp_replace({identity}, '\.[^./]*$', '') AS image_id, {name} AS name"
        " FROM images"
    )
    folder = quoted(storage.join(split.images, "_").removesuffix("_"))
    place_images(
        tables,
        f"""
        SELECT ref, image_id, CASE WHEN name LIKE '/%' OR name LIKE 's3://%' THEN name
            ELSE {folder} || name END AS image_uri,
            CASE WHEN {POSSIBLE} THEN trunc(width)::BIGINT ELSE 0 END AS width,
            CASE WHEN {POSSIBLE} THEN trunc(height)::BIGINT ELSE 0 END AS height
        FROM ({listed}) WHERE image_id NOT IN (SELECT image_id FROM excluded)""",
    )
    among = ", ".join(quoted(image_id) for image_id in sorted(lost)) or "NULL"
    (num_lost,) = _row(tables, f"SELECT count(*) FROM ({listed}) WHERE image_id IN ({among})")
    return int(num_lost)


def _layout(tables: duckdb.DuckDBPyConnection, folder: str) -> str:
    """Return the SQL for the place below the image folder at which the first images are."""
    for layout in (AS_LISTED, AS_ARCHIVED, BASE_NAME):
        names = tables.sql(f"SELECT {layout} FROM images ORDER BY rowid LIMIT {LAYOUT_PROBES}")
        if any(storage.exists(storage.join(folder, name)) for (name,) in names.fetchall()):
            return layout
    return AS_LISTED


def _first(tables: duckdb.DuckDBPyConnection, rows: str) -> int | None:
    (place,) = _row(tables, f"SELECT min(rowid) FROM {rows}")
    return None if place is None else int(place)


def _row(tables: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...]
    (row,) = tables.sql(query).fetchall()
    return row


def _object_at(path: Path, name: str, row: int) -> dict[str, Any]:
    """Return an object of an array of the file, which is read again for it."""
    for chunk in JsonObjects(path, str(path)).chunks():
        if chunk.name == name:
            if row < len(chunk.texts):
                item: dict[str, Any] = json.loads(chunk.texts[row].as_py())
                return item
            row -= len(chunk.texts)
    return {}


def _unfit(where: str, what: str) -> DataError:
    return DataError(
        f"{where}: a needed key is missing or of the wrong type: {what}", fix=NEEDED_KEYS
    )
