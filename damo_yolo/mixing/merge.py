"""Records of many datasets -> one table per split in unified ids, and what each dataset brings.

Images stream through one at a time, in the order of the catalog's datasets and then of image ids,
so memory does not grow with the number of images beyond what a format's own reader holds.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from damo_yolo import storage
from damo_yolo.datasets.catalog import SPLITS, Catalog, DatasetSpec, Split
from damo_yolo.datasets.readers import open_source, record_of
from damo_yolo.datasets.records import write_records
from damo_yolo.datasets.source import Findings
from damo_yolo.errors import DataError
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import ImageRecord


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

    def add(self, record: ImageRecord) -> None:
        """Count one image."""
        ids = record.class_ids[~record.is_crowd].tolist()
        self.images += 1
        self.background += len(record.class_ids) == 0
        self.boxes += len(ids)
        self.crowds += len(record.class_ids) - len(ids)
        self.class_boxes.update(ids)
        self.class_images.update(set(ids))

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
    """One dataset on its way into the table."""

    spec: DatasetSpec
    mapping: LabelMapping
    known: set[int] = field(default_factory=set)
    """Unified ids of the classes that the dataset lists in any split."""
    counts: dict[Split, SplitCounts] = field(default_factory=dict)

    def records(self, split: Split) -> Iterator[ImageRecord]:
        """Yield the records of a split, counting them.

        Raises:
            DataError: an annotation is missing or broken, a class is unmapped, or two images
                share a key.
        """
        source = open_source(self.spec, split)
        if source is None:
            return
        self.mapping.require(source.classes, dataset=self.spec.name)
        self.known.update(self.mapping.known_of(source.classes).tolist())
        counts = self.counts.setdefault(split, SplitCounts())
        previous = ""
        for image in source.images(counts.findings):
            record = record_of(image, self.spec.name, self.mapping, findings=counts.findings)
            if record.key == previous:  # image ids come ordered
                raise DataError(
                    f"dataset '{self.spec.name}', {split}: two images have the key {record.key}",
                    fix="rename one of the image files",
                )
            previous = record.key
            counts.add(record)
            yield record

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


def merge(catalog: Catalog, space: LabelSpace, records_uri: str) -> dict[str, MergedDataset]:
    """Write train.parquet, val.parquet, label_space.csv and datasets.json.

    Args:
        catalog: the datasets, in the order in which their images are written.
        space: the label space that their mappings lead to.
        records_uri: folder for the four files; the same datasets give the same bytes.

    Returns:
        The datasets by name, with what was counted.

    Raises:
        DataError: as `MergedDataset.records`; the split's file is not written then.
    """
    merged = {
        spec.name: MergedDataset(spec, LabelMapping.load(spec.mapping, space))
        for spec in catalog.datasets
    }
    for split in SPLITS:
        stream = (record for item in merged.values() for record in item.records(split))
        write_records(stream, storage.join(records_uri, f"{split}.parquet"))
    facts = {
        "evaluation": catalog.evaluation,
        "datasets": {name: item.to_dict() for name, item in merged.items()},
    }
    storage.write_text(storage.join(records_uri, "label_space.csv"), space.to_csv())
    storage.write_text(storage.join(records_uri, "datasets.json"), json.dumps(facts, indent=1))
    return merged
