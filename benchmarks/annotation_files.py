"""Annotation files in the original formats, as large as the real ones; no images.

Totals and class frequencies are the real ones (full_scale_counts.json), but for two tails: no
source states Objects365's counts per class, nor those of 78 classes of Open Images. Both are
synthetic, a power law of rank. Places and sizes of boxes are random; so is which image a box
belongs to. The dirt of the real files is there: degenerate boxes, exact duplicates, crowds as
run-length masks, images without boxes, annotations in no order. The same seed gives the same files.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

COUNTS = Path(__file__).with_name("full_scale_counts.json")
ROWS_AT_ONCE = 1_000_000
TAIL_POWER = 1.1
DEGENERATE, REPEATED, CROWD = 0.0005, 0.001, 0.012
"""Parts of the boxes."""
Ints = NDArray[np.int64]

CORNERS = ((0, 0.3), (0.1, 0.1), (0.3, 0), (0.5, 0.05), (0.7, 0), (0.9, 0.1), (1, 0.4), (0.8, 0.9),
           (0.6, 1), (0.4, 0.95), (0.2, 0.9), (0.05, 0.6))  # fmt: skip
"""Of a polygon in its box."""
POLYGON = ", ".join(f"round(x + w * {x}, 2), round(y + h * {y}, 2)" for x, y in CORNERS)
COCO_OBJECT = f"""SELECT {{'segmentation': CASE WHEN crowd
    THEN {{'counts': [272, 2, 4, 4, 4, 4, 2, 9, 1, 2], 'size': [480, 640]}}::JSON
    ELSE [[{POLYGON}]]::JSON END,
    'area': round(w * h / 2, 4), 'iscrowd': crowd::INT, 'image_id': image, 'bbox':
    [round(x, 2), round(y, 2), round(w, 2), round(h, 2)], 'category_id': category, 'id': id}}"""
OBJECTS365_OBJECT = """SELECT {'id': id, 'iscrowd': crowd::INT, 'isfake': 0,
    'area': round(w * h, 10), 'isreflected': 0,
    'bbox': [round(x, 10), round(y, 10), round(w, 10), round(h, 10)], 'image_id': image,
    'category_id': category}"""
COCO_IMAGE = """SELECT {'license': 3, 'file_name': printf('%012d.jpg', id), 'coco_url':
    printf('http://images.cocodataset.org/train2017/%012d.jpg', id), 'height': 480, 'width': 640,
    'date_captured': '2013-11-14 11:18:45', 'flickr_url':
    printf('http://farm9.staticflickr.com/8186/%d_1b33a7d4cf_z.jpg', id), 'id': id}"""
OBJECTS365_IMAGE = """SELECT {'height': 480, 'id': id, 'license': 5, 'width': 640, 'file_name':
    printf('images/v%d/patch%d/objects365_v%d_%08d.jpg', 1 + id % 2, id // 40000, 1 + id % 2, id),
    'url': ''}"""


@dataclass(frozen=True)
class Files:
    """What was written."""

    catalog: Path
    images: int
    boxes: int
    num_bytes: int

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps({**asdict(self), "catalog": str(self.catalog)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what was written."""
        values = json.loads(text)
        return cls(**{**values, "catalog": Path(values["catalog"])})


def write_files(folder: Path, *, fraction: float, seed: int) -> Files:
    """Write the annotation files of COCO, Objects365 v2 and Open Images, and their catalog.

    Args:
        folder: takes them; about 9 GB at a fraction of 1.
        fraction: of the real numbers of images and boxes.
        seed: of everything random.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = json.loads(COUNTS.read_text())
    rng = np.random.default_rng(seed)
    coco, o365, oid = counts["coco"], counts["objects365"], counts["openimages"]
    images = boxes = 0
    for name, facts, split in (
        ("coco", coco, "train"),
        ("coco", coco, "val"),
        ("o365", o365, "train"),
    ):
        num = [round(facts[f"{split}_{what}"] * fraction) for what in ("images", "boxes")]
        _write_json(folder / f"{name}_{split}.json", name, facts, (num[0], num[1]), rng)
        images, boxes = images + num[0], boxes + num[1]
    num = [round(oid[f"train_{what}"] * fraction) for what in ("images", "boxes")]
    _write_openimages(folder, oid, (num[0], num[1]), fraction, rng)
    catalog = _write_catalog(folder)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return Files(catalog, images + num[0], boxes + num[1], size)


def _write_json(
    path: Path, name: str, facts: Mapping[str, Any], num: tuple[int, int], rng: np.random.Generator
) -> None:
    num_images, num_boxes = num
    mapping = "coco" if name == "coco" else "objects365_v2"
    classes = _mapped(mapping)
    ids = np.array([int(row["source_id"]) for row in classes])
    weights = np.array([facts.get("class_boxes", {}).get(str(i), 0) for i in ids], float)
    if not weights.any():
        weights = (1.0 + np.arange(len(ids))) ** -TAIL_POWER  # Person, the largest, comes first
    image_ids = rng.permutation(num_images) + 1
    with path.open("wb") as file:
        file.write(b'{"info": {"description": "generated"}, "licenses": [], "images": [')
        _append(file, {"id": image_ids}, COCO_IMAGE if name == "coco" else OBJECTS365_IMAGE)
        file.write(b'], "annotations": [')
        for first, columns in _boxes(num_images, num_boxes, weights, rng):
            columns["category"] = ids[columns["category"]]
            columns["image"] = columns["image"] + 1
            columns["id"] = np.arange(first, first + len(columns["image"]))
            if first:
                file.write(b", ")
            _append(file, columns, COCO_OBJECT if name == "coco" else OBJECTS365_OBJECT)
        listed = [{"id": int(row["source_id"]), "name": row["source_name"]} for row in classes]
        file.write(b'], "categories": ' + json.dumps(listed).encode() + b"}")


def _append(file: Any, columns: Mapping[str, NDArray[Any]], select: str) -> None:
    """Write a JSON object for each row, with commas between."""
    batch = pa.table(dict(columns))
    with duckdb.connect() as tables:
        tables.execute("SET threads = 2; SET enable_progress_bar = false")
        for start in range(0, len(batch), ROWS_AT_ONCE):
            tables.register("batch", batch.slice(start, ROWS_AT_ONCE))
            texts = tables.sql(f"SELECT to_json(s)::VARCHAR AS t FROM ({select} AS s FROM batch)")
            lines = texts.to_arrow_table()["t"].combine_chunks()
            tables.unregister("batch")
            if start:
                file.write(b", ")
            file.write(b", ".join(_slices(lines)))


def _slices(lines: Any) -> Iterator[bytes]:
    offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset :][: len(lines) + 1].tolist()
    data = lines.buffers()[2].to_pybytes()
    for start, end in pairwise(offsets):
        yield data[start:end]


def _boxes(
    num_images: int, num_boxes: int, weights: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """Yield the number of boxes so far, and columns of the next: pixels of images of 640 x 480."""
    edges = np.cumsum(weights / weights.sum())
    for first in range(0, num_boxes, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, num_boxes - first)
        sides = np.exp(rng.uniform(np.log(4), np.log(400), (2, count)))
        w, h = sides.clip(None, np.array([[640], [480]]))
        x, y = rng.random(count) * (640 - w), rng.random(count) * (480 - h)
        w[rng.random(count) < DEGENERATE] = 0.0
        columns = {
            "image": rng.integers(num_images, size=count),
            "category": np.searchsorted(edges, rng.random(count)).clip(0, len(weights) - 1),
            "x": x,
            "y": y,
            "w": w,
            "h": h,
            "crowd": rng.random(count) < CROWD,
        }
        repeated = np.flatnonzero(rng.random(count) < REPEATED)
        for values in columns.values():
            values[repeated] = values[repeated - 1]
        yield first, columns


def _write_openimages(
    folder: Path,
    facts: Mapping[str, Any],
    num: tuple[int, int],
    fraction: float,
    rng: np.random.Generator,
) -> None:
    num_images, num_boxes = num
    classes = _mapped("openimages_500")
    mids = [row["source_id"] for row in classes]
    stated = {mid: count for mid, count in facts["class_boxes"].items() if count is not None}
    tail = facts["train_boxes"] - sum(stated.values())
    ranks = (1.0 + np.arange(len(mids) - len(stated))) ** -TAIL_POWER
    rest = iter((ranks / ranks.sum() * tail).tolist())
    weights = np.array([stated.get(mid) or next(rest) for mid in mids])
    image = "printf('%016x', image::UBIGINT * 10582446123391)"
    for first, columns in _boxes(num_images, num_boxes, weights, rng):
        columns["category"] = np.array(mids)[columns["category"]]
        _append_csv(
            folder / "oid_boxes.csv",
            columns,
            f"SELECT {image} AS ImageID, 'xclick' AS Source, category AS LabelName,"
            " 1 AS Confidence, printf('%.6f', x / 640) AS XMin,"
            " printf('%.6f', (x + w) / 640) AS XMax,"
            " printf('%.6f', y / 480) AS YMin, printf('%.6f', (y + h) / 480) AS YMax,"
            " 0 AS IsOccluded, 0 AS IsTruncated, crowd::INT AS IsGroupOf, 0 AS IsDepiction,"
            " 0 AS IsInside FROM batch",
            header=first == 0,
        )
    num_labels = [round(facts[f"labels_{what}"] * fraction) for what in ("present", "absent")]
    for value, count in zip((1, 0), num_labels, strict=True):
        for first in range(0, count, ROWS_AT_ONCE):
            size = min(ROWS_AT_ONCE, count - first)
            labels = {
                "image": rng.integers(num_images, size=size),
                "category": np.array(mids)[rng.integers(len(mids), size=size)],
            }
            _append_csv(
                folder / "oid_labels.csv",
                labels,
                f"SELECT {image} AS ImageID, 'verification' AS Source, category AS LabelName,"
                f" {value} AS Confidence FROM batch",
                header=value == 1 and first == 0,
            )
    _append_csv(
        folder / "oid_sizes.csv",
        {"image": np.arange(num_images)},
        f"SELECT {image} AS ImageID, 640 AS Width, 480 AS Height FROM batch",
        header=True,
    )
    _write_classes(folder, classes, facts["ancestors"])


def _append_csv(
    path: Path, columns: Mapping[str, NDArray[Any]], select: str, *, header: bool
) -> None:
    part = path.with_suffix(".part")
    with duckdb.connect() as tables:
        tables.execute("SET threads = 2; SET enable_progress_bar = false")
        tables.register("batch", pa.table(dict(columns)))
        tables.execute(f"COPY ({select}) TO '{part}' (FORMAT csv, HEADER {header})")
    with path.open("ab") as file:
        file.write(part.read_bytes())
    part.unlink()


def _write_classes(
    folder: Path, classes: list[dict[str, str]], ancestors: Mapping[str, list[str]]
) -> None:
    """Write the class file, and a tree in which each class stands below each of its ancestors."""
    with (folder / "oid_classes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([row["source_id"], row["source_name"]] for row in classes)
    below: dict[str, list[dict[str, str]]] = {}
    for mid, parents in ancestors.items():
        for parent in parents:
            below.setdefault(parent, []).append({"LabelName": mid})
    nodes = [
        {"LabelName": row["source_id"], "Subcategory": below.get(row["source_id"], [])}
        for row in classes
    ]
    tree = {"LabelName": "/m/0bl9f", "Subcategory": nodes}
    (folder / "oid_tree.json").write_text(json.dumps(tree))


def _write_catalog(folder: Path) -> Path:
    images = {"images": "images"}
    datasets = [
        {
            "name": "coco",
            "format": "coco",
            "mapping": "coco",
            "train": {"annotations": "coco_train.json", **images},
            "val": {"annotations": "coco_val.json", **images},
        },
        {
            "name": "objects365",
            "format": "objects365",
            "mapping": "objects365_v2",
            "sampling": "inverse_frequency",
            "train": {"annotations": "o365_train.json", **images},
        },
        {
            "name": "openimages",
            "format": "openimages",
            "mapping": "openimages_500",
            "sampling": "inverse_frequency",
            "classes": "oid_classes.csv",
            "hierarchy": "oid_tree.json",
            "train": {
                "annotations": "oid_boxes.csv",
                "image_labels": "oid_labels.csv",
                "image_sizes": "oid_sizes.csv",
                **images,
            },
        },
    ]
    path = folder / "catalog.yaml"
    path.write_text(
        yaml.safe_dump({"name": "full_scale", "evaluation": "coco", "datasets": datasets})
    )
    return path


def _mapped(mapping: str) -> list[dict[str, str]]:
    """Return the lines of a builtin label mapping."""
    file = resources.files("damo_yolo.labels").joinpath(f"mappings/{mapping}.csv")
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
