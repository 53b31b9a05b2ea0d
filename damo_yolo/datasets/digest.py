"""A checksum of everything that a catalog leads to, wherever it lies."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from damo_yolo import storage
from damo_yolo.datasets.catalog import SPLITS, Catalog, DatasetSpec, SplitSpec, is_location
from damo_yolo.datasets.images import SUFFIXES

FOLDER_FORMATS = {"voc": ".xml", "yolo": ".txt"}
"""Formats whose annotations are a folder of files with this suffix."""


def catalog_digest(catalog: Catalog) -> str:
    """Return the hex SHA-256 of a catalog's choices and of all that it names.

    Annotation files, class files, lists, label tables count byte by byte; images by name and, on a
    local disk, by size. Folders count by what lies below them, so a dataset that moved keeps its
    digest. What is missing counts as missing.
    """
    digest = hashlib.sha256()
    for part in _parts(catalog):
        digest.update(json.dumps(part).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _parts(catalog: Catalog) -> Iterator[tuple[object, ...]]:
    yield "catalog", catalog.name, catalog.evaluation
    yield "label space", _table(catalog.label_space)
    for spec in catalog.datasets:
        choices = spec.model_dump(include={"name", "format", "sampling", "licence"})
        yield "dataset", choices, _table(spec.mapping)
        for name in ("classes", "hierarchy"):
            yield name, _file(getattr(spec, name))
        for split in SPLITS:
            where = spec.split(split)
            if where is not None:
                yield "split", split
                yield from _split_parts(spec, where)


def _split_parts(spec: DatasetSpec, where: SplitSpec) -> Iterator[tuple[object, ...]]:
    for name in ("image_set", "image_labels", "image_sizes", "exclude"):
        yield name, _file(getattr(where, name))
    suffix = FOLDER_FORMATS.get(spec.format)
    if suffix is None:
        yield "annotations", _file(where.annotations)
    else:
        for name, uri in _below(where.annotations, (suffix,)):
            yield "annotation", name, storage.sha256(uri)
    for name, uri in _below(where.images, SUFFIXES):
        yield "image", name, None if storage.is_remote(uri) else Path(uri).stat().st_size


def _below(folder: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    root = folder.rstrip("/") if storage.is_remote(folder) else str(Path(folder))
    for uri in storage.list_uris(root):
        if uri.lower().endswith(suffixes):
            yield uri[len(root) + 1 :], uri


def _file(uri: str | None) -> str | None:
    if uri is None:
        return None
    return storage.sha256(uri) if storage.exists(uri) else "missing"


def _table(name_or_uri: str) -> str | None:
    """Return the checksum of a table of the user's, the name of a builtin one."""
    return _file(name_or_uri) if is_location(name_or_uri) else name_or_uri
