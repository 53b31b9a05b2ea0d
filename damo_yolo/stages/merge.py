"""Merge the datasets of a catalog into one table of records."""

from collections import Counter

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import SPLITS, load_catalog
from damo_yolo.datasets.readers import DEFAULT_MEMORY_MB
from damo_yolo.labels.space import LabelSpace
from damo_yolo.mixing.merge import MergedDataset, SplitCounts, merge


class SplitSummary(Config):
    """What one split of one dataset brought."""

    images: int
    background: int
    """Images without any object."""
    boxes: int
    """Boxes to train on: crowds not among them."""
    crowds: int
    mended: dict[str, int]
    """Dirt that was mended or dropped, by name."""


class MergeResult(Config):
    """Content of `result.json`."""

    catalog: str
    num_images: int
    """Of both splits."""
    num_train_images: int
    num_val_images: int
    num_train_boxes: int
    num_classes: int
    """Of the label space."""
    num_classes_with_boxes: int
    """Classes with at least one box to train on."""
    evaluation: str
    datasets: dict[str, dict[str, SplitSummary]]
    """By dataset and split."""
    train_boxes_per_class: dict[str, int]
    """Class name to boxes to train on, most first."""
    label_space_sha256: str
    train_sha256: str
    val_sha256: str


def merge_datasets(
    catalog_uri: str,
    records_uri: str,
    *,
    memory_mb: int = DEFAULT_MEMORY_MB,
    spread: bool = False,
) -> MergeResult:
    """Write the merged records: `train.parquet`, `val.parquet`, label space, facts, result.

    Args:
        catalog_uri: catalog file.
        records_uri: folder for the records; the same data give the same bytes.
        memory_mb: what joins and sorts of a dataset may hold at once; beyond, they go to disk.
        spread: read the datasets on the Ray cluster of RAY_ADDRESS, or on a local one.

    Raises:
        ConfigError: the catalog does not fit.
        DataError: a class is unmapped, or an annotation or image is missing or broken.
    """
    catalog = load_catalog(catalog_uri)
    space = LabelSpace.load(catalog.label_space)
    merged = merge(catalog, space, records_uri, memory_mb=memory_mb, spread=spread)
    result = _result(catalog.name, catalog.evaluation, space, merged, records_uri)
    storage.write_text(storage.join(records_uri, "result.json"), result.model_dump_json(indent=2))
    return result


def _result(
    name: str,
    evaluation: str,
    space: LabelSpace,
    merged: dict[str, MergedDataset],
    records_uri: str,
) -> MergeResult:
    train, val = ([item.counts.get(split) for item in merged.values()] for split in SPLITS)
    train_images, val_images = (sum(c.images for c in part if c) for part in (train, val))
    per_class = sum((c.class_boxes for c in train if c), start=Counter[int]())
    return MergeResult(
        catalog=name,
        num_images=train_images + val_images,
        num_train_images=train_images,
        num_val_images=val_images,
        num_train_boxes=per_class.total(),
        num_classes=len(space),
        num_classes_with_boxes=len(per_class),
        evaluation=evaluation,
        datasets={
            key: {split: _summary(counts) for split, counts in item.counts.items()}
            for key, item in merged.items()
        },
        train_boxes_per_class={
            space.names[class_id]: count
            for class_id, count in sorted(per_class.items(), key=lambda pair: (-pair[1], pair[0]))
        },
        label_space_sha256=space.sha256,
        train_sha256=storage.sha256(storage.join(records_uri, "train.parquet")),
        val_sha256=storage.sha256(storage.join(records_uri, "val.parquet")),
    )


def _summary(counts: SplitCounts) -> SplitSummary:
    return SplitSummary(
        images=counts.images,
        background=counts.background,
        boxes=counts.boxes,
        crowds=counts.crowds,
        mended=dict(sorted(counts.findings.counts.items())),
    )
