"""Records of many datasets -> one table per split in unified ids, and what each dataset brings.

Each split of each dataset is a task that yields tables of some thousand images, in the order of the
catalog's datasets and then of image ids. So memory does not grow with the number of images, and the
tasks may run on other machines: one process takes their tables in order and writes the file.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.compute.streams import stream_tasks
from damo_yolo.datasets.catalog import SPLITS, Catalog, DatasetSpec, Split
from damo_yolo.datasets.cleaning import UnifiedCodes
from damo_yolo.datasets.pairs import ClassPairs
from damo_yolo.datasets.readers import DEFAULT_MEMORY_MB, open_source, read_tables
from damo_yolo.datasets.records import RECORD_SCHEMA, write_tables
from damo_yolo.datasets.source import Findings
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace


@dataclass(frozen=True)
class MergeTask:
    """One split of one dataset, to be read."""

    spec: DatasetSpec
    split: Split
    space: LabelSpace
    memory_mb: int
    """What joins and sorts may hold at once."""


@dataclass(frozen=True, eq=False)
class MergedChunk:
    """Some images of a split, in unified ids."""

    dataset: str
    table: pa.Table
    """Rows of `RECORD_SCHEMA`."""
    findings: Findings
    """Dirt met since the chunk before."""
    known_ids: NDArray[np.int64]
    """Unified ids of the classes that the dataset lists in this split."""


def merged_chunks(task: MergeTask) -> Iterator[MergedChunk]:
    """Yield the images of a split, ordered by image id; the last chunk has none.

    Raises:
        DataError: an annotation is missing or broken, a class is unmapped, or two images share a
            key.
    """
    spec, findings = task.spec, Findings()
    mapping = LabelMapping.load(spec.mapping, task.space)
    with open_source(spec, task.split, memory_mb=task.memory_mb) as source:
        if source is None:
            return
        mapping.require(source.classes, dataset=spec.name)
        known = UnifiedCodes.of(source.classes, mapping).known_ids
        for table in read_tables(source, spec.name, mapping, findings):
            yield MergedChunk(spec.name, table, findings.taken(), known)
        yield MergedChunk(spec.name, RECORD_SCHEMA.empty_table(), findings.taken(), known)


@dataclass
class SplitCounts:
    """What one split of one dataset holds."""

    images: int = 0
    background: int = 0
    """Images without any object."""
    boxes: int = 0
    """Boxes to train on: crowds not among them."""
    crowds: int = 0
    class_boxes: Counter[int] = field(default_factory=Counter)
    class_images: Counter[int] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    def add(self, chunk: MergedChunk) -> None:
        """Count the images of a chunk."""
        lists = chunk.table["class_ids"].combine_chunks()
        lengths = lists.value_lengths().to_numpy()
        single = ~_flat(chunk.table["is_crowd"]).astype(bool)
        ids = _flat(chunk.table["class_ids"]).astype(np.int64)[single]
        owners = np.repeat(np.arange(len(lengths)), lengths)[single]
        self.images += len(lengths)
        self.background += int(np.count_nonzero(lengths == 0))
        self.boxes += len(ids)
        self.crowds += len(single) - len(ids)
        self.class_boxes.update(_counted(ids))
        once = ClassPairs.from_packed(ClassPairs(owners, ids).packed())
        self.class_images.update(_counted(once.classes))
        self.findings.update(chunk.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, classes ordered by id."""
        classes = {
            str(class_id): {"boxes": boxes, "images": self.class_images[class_id]}
            for class_id, boxes in sorted(self.class_boxes.items())
        }
        return {
            "images": self.images,
            "boxes": self.boxes,
            "crowds": self.crowds,
            "background": self.background,
            "classes": classes,
            "findings": dict(sorted(self.findings.counts.items())),
        }


@dataclass
class MergedDataset:
    """One dataset, as far as it is in the table."""

    spec: DatasetSpec
    known: set[int] = field(default_factory=set)
    """Unified ids of the classes that the dataset lists in any split."""
    counts: dict[Split, SplitCounts] = field(default_factory=dict)

    def add(self, split: Split, chunk: MergedChunk) -> None:
        """Count a chunk of a split."""
        self.known.update(chunk.known_ids.tolist())
        self.counts.setdefault(split, SplitCounts()).add(chunk)

    def to_dict(self) -> dict[str, Any]:
        """Return the dataset's entry of `datasets.json`."""
        splits: dict[str, Any] = {split: counts.to_dict() for split, counts in self.counts.items()}
        train = splits.get("train")
        return {
            "sampling": self.spec.sampling,
            "licence": self.spec.licence,
            "known_ids": sorted(self.known),
            "classes": train["classes"] if train else {},
            **splits,
        }


def merge(
    catalog: Catalog,
    space: LabelSpace,
    records_uri: str,
    *,
    memory_mb: int = DEFAULT_MEMORY_MB,
    spread: bool = False,
) -> dict[str, MergedDataset]:
    """Write train.parquet, val.parquet, label_space.csv and datasets.json.

    Args:
        catalog: the datasets, in the order in which their images are written.
        space: the label space that their mappings lead to.
        records_uri: folder for the four files; the same datasets give the same bytes.
        memory_mb: what joins and sorts of a dataset may hold at once.
        spread: read the datasets on a Ray cluster; the same bytes.

    Returns:
        The datasets by name, with what was counted.

    Raises:
        DataError: as `merged_chunks`; the split's file is not written then.
    """
    merged = {spec.name: MergedDataset(spec) for spec in catalog.datasets}
    for split in SPLITS:
        tasks = [MergeTask(spec, split, space, memory_mb) for spec in catalog.datasets]
        chunks = stream_tasks(merged_chunks, tasks, spread=spread)
        tables = _counted_tables(chunks, split, merged)
        write_tables(tables, storage.join(records_uri, f"{split}.parquet"))
    facts = {
        "evaluation": catalog.evaluation,
        "datasets": {name: item.to_dict() for name, item in merged.items()},
    }
    storage.write_text(storage.join(records_uri, "label_space.csv"), space.to_csv())
    storage.write_text(storage.join(records_uri, "datasets.json"), json.dumps(facts, indent=1))
    return merged


def _counted_tables(
    chunks: Iterator[MergedChunk], split: Split, merged: dict[str, MergedDataset]
) -> Iterator[pa.Table]:
    for chunk in chunks:
        merged[chunk.dataset].add(split, chunk)
        yield chunk.table


def _flat(column: pa.ChunkedArray) -> NDArray[Any]:
    values: NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values


def _counted(ids: NDArray[np.int64]) -> dict[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
