"""What can be wrong with a dataset, found before anything expensive starts.

Errors make a run impossible; warnings are dirt that readers and shard writer mend or drop, counted
by name. Every listed image is looked at: its header always, its pixels on request.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import DatasetSpec, Split
from damo_yolo.datasets.images import ImageHeader, decodes, is_truncated, read_header
from damo_yolo.datasets.readers import open_source, record_of
from damo_yolo.datasets.source import Findings, Source, SourceImage
from damo_yolo.errors import DamoYoloError
from damo_yolo.labels.mapping import LabelMapping, unmapped_error

IMAGES_AT_ONCE = 1024
THREADS = 8
"""Reading headers waits for the disk or the network most of the time."""

LEAVE_OUT = "list them in the split's 'exclude'"
BROKEN_IMAGE_FIXES = {
    "missing": f"put them there, or {LEAVE_OUT}",
    "unreadable": f"fetch them again, or {LEAVE_OUT}",
    "damaged": f"fetch them again, or {LEAVE_OUT}",
    "of another size than annotated": f"use the images that were annotated, or {LEAVE_OUT}",
    "named like another image": "rename the files: their suffix does not tell them apart",
}
FIXES = {
    "degenerate boxes": "nothing to do: they are dropped",
    "boxes outside the image": "nothing to do: they are dropped",
    "exact duplicate boxes": "nothing to do: one of each is kept",
    "boxes clipped to the image": "nothing to do, unless there are many: then look at the first",
    "images with an EXIF rotation": "nothing to do, unless boxes look turned: store them upright",
    "annotations of unlisted images": "nothing to do: they are dropped",
    "labels without an image": "put the images there, or remove the labels",
}
HANDLED = "nothing to do: it is taken care of"


class Problem(Config):
    """One kind of trouble in one split."""

    dataset: str
    split: str
    kind: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.problem}\n  fix: {self.fix}"

    @classmethod
    def of_error(cls, error: DamoYoloError, *, dataset: str, split: str, kind: str) -> "Problem":
        """Return an error of the readers as a problem of a split."""
        return cls(dataset=dataset, split=split, kind=kind, problem=error.problem, fix=error.fix)


@dataclass
class SplitCheck:
    """What was found in one split of one dataset."""

    dataset: str
    split: Split
    images: int = 0
    boxes: int = 0
    background: int = 0
    """Images without any object."""
    errors: list[Problem] = field(default_factory=list)
    broken: Findings = field(default_factory=Findings)
    """Images that cannot be used, by reason."""
    dirt: Findings = field(default_factory=Findings)

    def fail(self, error: DamoYoloError, *, kind: str) -> None:
        """Take in an error of the readers."""
        problem = Problem.of_error(error, dataset=self.dataset, split=self.split, kind=kind)
        self.errors.append(problem)

    def all_errors(self) -> list[Problem]:
        """Return the errors, those of images gathered by reason."""
        problems = list(self.errors)
        for kind, fix in BROKEN_IMAGE_FIXES.items():
            if count := self.broken.counts.get(kind):
                what = f"{count} of {self.images} images are {kind}"
                problems.append(self._problem(kind, what, self.broken.first[kind], fix))
        return problems

    def warnings(self) -> list[Problem]:
        """Return the dirt, by name."""
        return [
            self._problem(kind, f"{kind}: {count}", self.dirt.first[kind], FIXES.get(kind, HANDLED))
            for kind, count in sorted(self.dirt.counts.items())
        ]

    def _problem(self, kind: str, what: str, first: str, fix: str) -> Problem:
        return Problem(
            dataset=self.dataset,
            split=self.split,
            kind=kind,
            problem=f"dataset '{self.dataset}', {self.split}: {what}, first: {first}",
            fix=fix,
        )


@dataclass(frozen=True)
class UsableImage:
    """An image that was looked at and can be used."""

    key: str
    image: SourceImage
    header: ImageHeader


@dataclass(frozen=True)
class BrokenImage:
    """An image that was looked at and cannot be used."""

    key: str
    reason: str
    detail: str


def check_split(
    spec: DatasetSpec, split: Split, mapping: LabelMapping, check: SplitCheck, *, decode: bool
) -> Iterator[UsableImage]:
    """Look at every image of a split; what is found goes into `check`.

    Args:
        spec: the dataset.
        split: which part of it.
        mapping: its classes in unified ids.
        check: takes in counts, errors and dirt.
        decode: decode the pixels of every image, not only where a JPEG lacks its end.

    Yields:
        The usable images.
    """
    try:
        source = open_source(spec, split)
        if source is None:
            return
        unmapped = mapping.unmapped(source.classes)
        if unmapped:
            error = unmapped_error(unmapped, dataset=spec.name, mapping=mapping.name)
            check.fail(error, kind="unmapped classes")
        for item in _examined(source, spec.name, check, decode=decode):
            if not unmapped:
                _count(item, spec.name, mapping, check)
            yield item
    except DamoYoloError as error:
        check.fail(error, kind="broken annotations")


def _examined(
    source: Source, dataset: str, check: SplitCheck, *, decode: bool
) -> Iterator[UsableImage]:
    images = source.images(check.dirt)
    previous = ""
    with ThreadPoolExecutor(THREADS) as pool:
        while chunk := list(islice(images, IMAGES_AT_ONCE)):
            for item in pool.map(partial(_examine, dataset=dataset, decode=decode), chunk):
                check.images += 1
                if item.key == previous:  # image ids come ordered
                    check.broken.note("named like another image", item.key)
                previous = item.key
                if isinstance(item, BrokenImage):
                    check.broken.note(item.reason, item.detail)
                else:
                    yield item


def _examine(image: SourceImage, *, dataset: str, decode: bool) -> UsableImage | BrokenImage:
    key = f"{dataset}/{image.image_id}"
    uri = image.image_uri
    try:
        header = read_header(uri)
    except DamoYoloError:
        return BrokenImage(key, "unreadable" if storage.exists(uri) else "missing", uri)
    wanted = image.width, image.height
    if all(wanted) and wanted not in {(header.width, header.height), header.upright_size}:
        actual = f"{uri} is {header.width}x{header.height}, annotated {wanted[0]}x{wanted[1]}"
        return BrokenImage(key, "of another size than annotated", actual)
    if not decodes(uri) if decode else is_truncated(uri, header):
        return BrokenImage(key, "damaged", uri)
    return UsableImage(key, image, header)


def _count(item: UsableImage, dataset: str, mapping: LabelMapping, check: SplitCheck) -> None:
    header, uri = item.header, item.image.image_uri
    record = record_of(item.image, dataset, mapping, findings=check.dirt, header=header)
    check.boxes += len(record.class_ids)
    check.background += len(item.image.source_ids) == 0
    if header.mode != "RGB":
        names = {"L": "greyscale images", "CMYK": "CMYK images"}
        check.dirt.note(names.get(header.mode, f"images of mode {header.mode}"), uri)
    if header.format != "JPEG":
        check.dirt.note(f"images stored as {header.format}", uri)
    if header.orientation != 1:
        check.dirt.note("images with an EXIF rotation", uri)
