"""Every format through one door: a dataset's split -> records in unified ids."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import pyarrow as pa

from damo_yolo.datasets.catalog import DatasetSpec, Format, Split
from damo_yolo.datasets.cleaning import UnifiedCodes, record_table
from damo_yolo.datasets.coco import open_coco
from damo_yolo.datasets.openimages import open_openimages
from damo_yolo.datasets.records import records_of
from damo_yolo.datasets.source import Findings, Opener, Source
from damo_yolo.datasets.voc import open_voc
from damo_yolo.datasets.yolo import open_yolo
from damo_yolo.errors import DataError
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.samples import ImageRecord

OPENERS: dict[Format, Opener] = {
    "coco": open_coco,
    "objects365": open_coco,
    "openimages": open_openimages,
    "voc": open_voc,
    "yolo": open_yolo,
}

DEFAULT_MEMORY_MB = 1024


def open_source(
    spec: DatasetSpec, split: Split, *, memory_mb: int = DEFAULT_MEMORY_MB
) -> AbstractContextManager[Source | None]:
    """Open a split in its format for the length of a block; None where there is no such split.

    Args:
        spec: the dataset.
        split: which part of it.
        memory_mb: what joins and sorts may hold at once; they go to disk beyond.

    Raises:
        DataError: an annotation file is missing or broken.
    """
    where = spec.split(split)
    if where is None:
        return nullcontext()
    return OPENERS[spec.format](spec, where, memory_mb=memory_mb)


def read_tables(
    source: Source, dataset: str, mapping: LabelMapping, findings: Findings
) -> Iterator[pa.Table]:
    """Yield tables of records, some thousand images each, ordered by image id.

    Args:
        source: an open split.
        dataset: name of the dataset.
        mapping: its classes in unified ids.
        findings: counts the dirt met on the way.

    Raises:
        DataError: an annotation is missing or broken, a class is unmapped, two images share a key,
            or the size of an image is nowhere to be read.
    """
    mapping.require(source.classes, dataset=dataset)
    classes = UnifiedCodes.of(source.classes, mapping)
    previous = ""
    for chunk in source.chunks(findings):
        for image_id in chunk.image_ids:
            if image_id == previous:  # they come ordered
                raise DataError(
                    f"dataset '{dataset}': two images have the key {dataset}/{image_id}",
                    fix="rename one of the image files",
                )
            previous = image_id
        yield record_table(chunk, dataset, classes, findings=findings)


def read_dataset(
    spec: DatasetSpec,
    split: Split,
    mapping: LabelMapping,
    *,
    findings: Findings | None = None,
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> Iterator[ImageRecord]:
    """Yield the records of a split ordered by image id; nothing where there is no such split.

    Args:
        spec: the dataset.
        split: which part of it.
        mapping: its classes in unified ids.
        findings: counts the dirt met on the way.
        memory_mb: what joins and sorts may hold at once.

    Raises:
        DataError: as `open_source` and `read_tables`.
    """
    with open_source(spec, split, memory_mb=memory_mb) as source:
        if source is not None:
            found = Findings() if findings is None else findings
            for table in read_tables(source, spec.name, mapping, found):
                yield from records_of(table)
