"""What the annotations say of the validation images, read back from the shards."""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.errors import DataError
from damo_yolo.labels.space import LabelSpace
from damo_yolo.shards.manifest import WRITE_AGAIN, Manifest
from damo_yolo.shards.read import RawSample, ShardReader


@dataclass(frozen=True, slots=True)
class ImageTruth:
    """The annotated objects of one validation image.

    Shapes: N objects, C classes.
    """

    key: str
    dataset: str
    boxes: NDArray[np.float32]
    """(N, 4) xyxy pixels of the image as stored."""
    class_ids: NDArray[np.int64]
    """(N,) unified class ids."""
    is_crowd: NDArray[np.bool_]
    """(N,) True for regions that hold several objects: neither right nor wrong to detect."""
    known: NDArray[np.bool_]
    """(C,) True where absence of the class is evidence."""
    verified: NDArray[np.bool_] | None = None
    """(C,) True where somebody looked for the class, also where it was seen and has no box or is
    above one that was seen, so that absence is no evidence; None: the known classes."""

    def counted_classes(self) -> NDArray[np.bool_]:
        """Return (C,) True where a detection of the class counts: known, or present."""
        counted = self.known.copy()
        counted[self.class_ids] = True
        return counted

    def present_but_incomplete(self) -> list[int]:
        """Return classes that have objects here, though perhaps not all of them are annotated."""
        present = np.unique(self.class_ids)
        return [int(class_id) for class_id in present if not self.known[class_id]]


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """The validation images of a folder of shards, without their pixels."""

    truths: tuple[ImageTruth, ...]
    class_names: tuple[str, ...]
    headline: str
    """Dataset whose images give the headline figure."""
    label_space_sha256: str
    manifest_sha256: str

    def of_dataset(self, name: str) -> list[ImageTruth]:
        """Return the images of one dataset."""
        return [truth for truth in self.truths if truth.dataset == name]

    @property
    def datasets(self) -> list[str]:
        """Return the datasets that have validation images, by name."""
        return sorted({truth.dataset for truth in self.truths})


def read_validation_set(shards_uri: str) -> ValidationSet:
    """Read the annotations of the validation shards.

    Raises:
        DataError: there are no shards, or no validation image of the headline dataset.
        StorageError: a file of the shards is missing.
    """
    manifest = Manifest.load(storage.join(shards_uri, "val"))
    space = LabelSpace.load(storage.join(shards_uri, "label_space.csv"))
    facts = json.loads(storage.read_text(storage.join(shards_uri, "datasets.json")))
    known = {
        name: _mask(dataset["known_ids"], len(space)) for name, dataset in facts["datasets"].items()
    }
    with ShardReader(manifest) as reader:
        truths = tuple(
            _truth(raw, known, len(space)) for raw in reader.stream(range(len(manifest)))
        )
    headline = str(facts["evaluation"])
    if all(truth.dataset != headline for truth in truths):
        raise DataError(
            f"{shards_uri} has no validation image of '{headline}', the headline dataset",
            fix="give that dataset a val split in the catalog and write the shards again",
        )
    return ValidationSet(
        truths, tuple(space.names), headline, space.sha256, manifest.summary.sha256
    )


def _truth(raw: RawSample, known: dict[str, NDArray[np.bool_]], num_classes: int) -> ImageTruth:
    if raw.dataset not in known:
        raise DataError(
            f"dataset '{raw.dataset}' of image '{raw.key}' is not in datasets.json", fix=WRITE_AGAIN
        )
    verified = known[raw.dataset] if raw.known_ids is None else _mask(raw.known_ids, num_classes)
    mask = verified
    if len(raw.unknown_ids):
        mask = verified.copy()
        mask[raw.unknown_ids] = False
    return ImageTruth(raw.key, raw.dataset, raw.boxes, raw.class_ids, raw.is_crowd, mask, verified)


def _mask(ids: "list[int] | NDArray[np.int64]", num_classes: int) -> NDArray[np.bool_]:
    mask = np.zeros(num_classes, np.bool_)
    mask[ids] = True
    return mask
