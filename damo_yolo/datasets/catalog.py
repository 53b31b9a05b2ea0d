"""The catalog: which datasets, in which format, where, and how they enter the label space."""

import os
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import DataError

Format = Literal["coco", "objects365", "openimages", "voc", "yolo"]
Sampling = Literal["none", "inverse_frequency", "repeat_factor"]
Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

NEEDS_CLASSES = ("openimages", "yolo")


class SplitSpec(Config):
    """Where one split of a dataset lies. Locations are absolute once the catalog is loaded."""

    annotations: str
    """JSON (coco, objects365), box csv (openimages), folder of XML (voc) or of txt (yolo)."""
    images: str
    """Folder below which the file names of the annotations lie."""
    image_set: str | None = None
    """Text file with one image id a line: only these are read (voc, yolo), or these are added as
    images without boxes (openimages)."""
    image_labels: str | None = None
    """Human-verified image-level labels (openimages): only verified classes are known then."""
    image_sizes: str | None = None
    """Csv of ImageID,Width,Height (openimages, whose releases do not say): sizes in pixels that
    then need not be read from the images."""
    exclude: str | None = None
    """Text file with one image id a line: these images are left out."""


class DatasetSpec(Config):
    """One annotated dataset."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Unique in the catalog; the prefix of every image key."""
    format: Format
    mapping: str
    """Builtin label mapping, or location of a csv."""
    sampling: Sampling = "none"
    licence: str = ""
    classes: str | None = None
    """Class file: `mid,name[,id]` csv (openimages), data.yaml (yolo)."""
    hierarchy: str | None = None
    """Class tree JSON (openimages): ancestors of a present class become unknown."""
    train: SplitSpec | None = None
    val: SplitSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.train is None and self.val is None:
            raise ValueError(f"dataset '{self.name}' has neither train nor val")
        if self.format in NEEDS_CLASSES and self.classes is None:
            raise ValueError(f"dataset '{self.name}': format {self.format} needs 'classes'")
        return self

    def split(self, split: Split) -> SplitSpec | None:
        """Return the locations of a split, None where the dataset has none."""
        return self.train if split == "train" else self.val


class Catalog(Config):
    """Datasets that are trained on together, and the label space they share."""

    name: str
    label_space: str = "unified_701"
    """Builtin label space, or location of a csv."""
    evaluation: str
    """Dataset whose val split gives the headline figure."""
    datasets: tuple[DatasetSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [spec.name for spec in self.datasets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"dataset names must be unique, twice: {', '.join(twice)}")
        if not any(spec.train for spec in self.datasets):
            raise ValueError("no dataset has a train split")
        if not any(spec.name == self.evaluation and spec.val for spec in self.datasets):
            raise ValueError(
                f"evaluation is '{self.evaluation}', which is no dataset with a val split"
            )
        return self

    def dataset(self, name: str) -> DatasetSpec:
        """Return the dataset of that name; raises `DataError` when there is none."""
        for spec in self.datasets:
            if spec.name == name:
                return spec
        names = ", ".join(spec.name for spec in self.datasets)
        raise DataError(f"the catalog has no dataset '{name}'", fix=f"use one of: {names}")


def load_catalog(uri: str) -> Catalog:
    """Read a catalog file; relative locations resolve against its folder.

    Raises:
        DataError: no file is there.
        ConfigError: it is not YAML, or a field is unknown, missing or wrong.
    """
    if not storage.exists(uri):
        raise DataError(
            f"no catalog is at {uri}", fix="give the location of a catalog file, or 'sample'"
        )
    catalog = Catalog.from_yaml(storage.read_text(uri), source=f"catalog {uri}")
    folder = _folder_of(uri)
    values = catalog.model_dump()
    values["label_space"] = _resolve_named(folder, catalog.label_space)
    values["datasets"] = [_resolve_dataset(folder, spec) for spec in catalog.datasets]
    return Catalog.from_mapping(values, source=f"catalog {uri}")


def is_location(name_or_uri: str) -> bool:
    """Tell a location of a csv from the name of a builtin table."""
    return name_or_uri.endswith(".csv") or "/" in name_or_uri


def _folder_of(uri: str) -> str:
    if storage.is_remote(uri):
        return uri.rpartition("/")[0]
    return os.path.dirname(os.path.abspath(uri))  # noqa: PTH100, PTH120 - keeps symbolic links


def _resolve_dataset(folder: str, spec: DatasetSpec) -> dict[str, Any]:
    values = spec.model_dump()
    values["mapping"] = _resolve_named(folder, spec.mapping)
    for field in ("classes", "hierarchy"):
        values[field] = _resolve(folder, values[field])
    for split in SPLITS:
        if values[split] is not None:
            values[split] = {name: _resolve(folder, uri) for name, uri in values[split].items()}
    return values


def _resolve_named(folder: str, name_or_uri: str) -> str:
    return _resolve(folder, name_or_uri) or "" if is_location(name_or_uri) else name_or_uri


def _resolve(folder: str, uri: str | None) -> str | None:
    if uri is None:
        return None
    joined = storage.join(folder, uri)
    return joined if storage.is_remote(joined) else os.path.normpath(joined)
