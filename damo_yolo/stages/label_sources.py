"""Where label stages find classes: catalogs, class lists, and the records that count them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from damo_yolo import storage
from damo_yolo.datasets.catalog import SPLITS, DatasetSpec, load_catalog
from damo_yolo.datasets.pairs import ClassPairs
from damo_yolo.datasets.readers import open_source
from damo_yolo.datasets.records import read_batches
from damo_yolo.datasets.source import Findings, Source, class_tree
from damo_yolo.errors import DataError
from damo_yolo.labels.classes import SourceClass, read_class_list
from damo_yolo.labels.mapping import IGNORE, LabelMapping
from damo_yolo.labels.review import ReviewRow
from damo_yolo.labels.space import LabelSpace

CATALOG_SUFFIXES = (".yaml", ".yml")
DATASET_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
"""As a catalog wants it: it becomes the name of a file."""


def classes_of(source: str, *, count: bool) -> list[SourceClass]:
    """Return the classes of a catalog's datasets, or of a `name=classes.csv`.

    Args:
        source: catalog or class list.
        count: read the training annotations of a catalog and count boxes and images.

    Raises:
        DataError: it is neither, or it is missing or broken.
    """
    if source.endswith(CATALOG_SUFFIXES):
        specs = load_catalog(source).datasets
        return [item for spec in specs for item in _of_dataset(spec, count=count)]
    name, _, listed = source.partition("=")
    if not name or not listed:
        raise DataError(
            f"'{source}' is neither a catalog nor a class list",
            fix="give a catalog.yaml, or name=classes.csv, or name=coco for a builtin list",
        )
    if not DATASET_NAME.match(name):
        raise DataError(
            f"'{name}' is no name for a dataset",
            fix="use letters, digits, '_', '.' and '-', beginning with a letter or digit",
        )
    return read_class_list(name, listed)


def rows_of(source: str, label_space: str) -> list[ReviewRow]:
    """Return the classes of a catalog or of a `name=mapping.csv` as they are mapped now.

    Args:
        source: catalog or mapping.
        label_space: space of a mapping; a catalog names its own.

    Raises:
        DataError: it is neither, it is missing or broken, or a class is unmapped.
    """
    if source.endswith(CATALOG_SUFFIXES):
        catalog = load_catalog(source)
        space = LabelSpace.load(catalog.label_space)
        rows = []
        for spec in catalog.datasets:
            mapping = LabelMapping.load(spec.mapping, space)
            classes = _of_dataset(spec, count=True)
            mapping.require({item.source_id: item.name for item in classes}, dataset=spec.name)
            rows += _as_mapped(classes, mapping, space)
        return rows
    if "=" not in source:
        raise DataError(
            f"no review is at {source}, and it is no catalog",
            fix="give the folder of a review, a catalog.yaml, or name=mapping.csv",
        )
    space = LabelSpace.load(label_space)
    mapping = LabelMapping.load(source.partition("=")[2], space)
    return _as_mapped(classes_of(source, count=False), mapping, space)


def counted(rows: Sequence[ReviewRow], records_uri: str) -> list[ReviewRow]:
    """Return the rows with the counts of merged training records: 0 for a class without boxes.

    Raises:
        DataError: the records are missing or broken, or hold none of the datasets.
    """
    boxes: Counter[tuple[str, str]] = Counter()
    images: Counter[tuple[str, str]] = Counter()
    uri = storage.join(records_uri, "train.parquet")
    for batch in read_batches(uri, columns=["dataset", "source_ids", "is_crowd"]):
        for item in _count_batch(batch).to_pylist():
            key = item["dataset"], item["source_id"]
            boxes[key] += item["image_count"]
            images[key] += item["image_count_distinct"]
    datasets = {dataset for dataset, _ in boxes}
    if not datasets & {row.source.dataset for row in rows}:
        raise DataError(
            f"{uri} holds none of the datasets {', '.join({row.source.dataset for row in rows})}",
            fix="give the folder of records that were merged from them",
        )
    return [
        replace(
            row,
            source=replace(row.source, boxes=boxes[row.source.key], images=images[row.source.key]),
        )
        for row in rows
    ]


def _count_batch(batch: pa.RecordBatch) -> pa.Table:
    owner = pc.list_parent_indices(batch["source_ids"])
    table = pa.table(
        {
            "dataset": batch["dataset"].take(owner),
            "source_id": pc.list_flatten(batch["source_ids"]),
            "image": owner,
        }
    ).filter(pc.invert(pc.list_flatten(batch["is_crowd"])))
    counts = [("image", "count"), ("image", "count_distinct")]
    return table.group_by(["dataset", "source_id"]).aggregate(counts)


def _of_dataset(spec: DatasetSpec, *, count: bool) -> list[SourceClass]:
    """Return the classes that a dataset lists in any split, with its class tree."""
    names: dict[str, str] = {}
    boxes: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for split in SPLITS:
        with open_source(spec, split) as source:
            if source is None:
                continue
            for key, name in source.classes.items():
                names.setdefault(key.strip(), name.strip())
            if count and split == "train":
                _count_source(source, boxes, images)
    above = class_tree(spec)
    return [
        SourceClass(
            spec.name,
            key,
            name,
            boxes=boxes[key] if count else None,
            images=images[key] if count else None,
            ancestors=tuple(sorted(above.get(key, frozenset()) & names.keys())),
        )
        for key, name in names.items()
    ]


def _count_source(source: Source, boxes: Counter[str], images: Counter[str]) -> None:
    keys = [key.strip() for key in source.classes]
    for chunk in source.chunks(Findings()):
        single = ~chunk.is_crowd
        present = ClassPairs(chunk.owners[single], chunk.codes[single])
        once = ClassPairs.from_packed(present.packed())
        for counter, pairs in ((boxes, present), (images, once)):
            counts = np.bincount(pairs.classes, minlength=len(keys)).tolist()
            counter.update(dict(zip(keys, counts, strict=True)))


def _as_mapped(
    classes: Sequence[SourceClass], mapping: LabelMapping, space: LabelSpace
) -> list[ReviewRow]:
    return list(_mapped_rows(classes, mapping, space))


def _mapped_rows(
    classes: Sequence[SourceClass], mapping: LabelMapping, space: LabelSpace
) -> Iterator[ReviewRow]:
    by_place: dict[int | None, list[str]] = {}
    for item in classes:
        by_place.setdefault(mapping.unified_id(item.source_id), []).append(item.source_id)
    for item in classes:
        place = mapping.unified_id(item.source_id)
        unknown = mapping.also_unknown(item.source_id)
        above = tuple(key for other in unknown for key in by_place.get(other, []))
        name = IGNORE if place is None else space.names[place]
        yield ReviewRow(name, replace(item, ancestors=above))
