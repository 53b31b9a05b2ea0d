"""What can be wrong with a dataset, found before anything expensive starts.

Errors make a run impossible; warnings are dirt that readers and shard writer mend or drop, counted
by name. Every listed image is looked at: its header always, its pixels on request.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.catalog import DatasetSpec, Split
from damo_yolo.datasets.cleaning import UnifiedCodes, record_table, select_images
from damo_yolo.datasets.duplicates import PRINT_SCHEMA, Print, perceptual_hash, table_of_prints
from damo_yolo.datasets.images import ImageHeader, decodes, is_truncated, read_header, read_tail
from damo_yolo.datasets.readers import open_source
from damo_yolo.datasets.source import Findings, ImageChunk, Source
from damo_yolo.errors import DamoYoloError
from damo_yolo.labels.mapping import LabelMapping, unmapped_error
from damo_yolo.labels.space import LabelSpace

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
NOTHING_TO_DO = "nothing to do"
"""How the fix begins where nobody is asked to do anything; pages sort by it."""
MANY_BOXES = (
    "if there are many, look at the first: the numbers may be in another unit (pixels, fractions),"
    " or of another image"
)
MISNAMED = "classes named otherwise in the label mapping"
FIXES = {
    "degenerate boxes": f"{NOTHING_TO_DO}: they are dropped",
    "boxes outside the image": f"they are dropped; {MANY_BOXES}",
    "exact duplicate boxes": f"{NOTHING_TO_DO}: one of each is kept",
    "boxes clipped to the image": f"{NOTHING_TO_DO}; {MANY_BOXES}",
    "boxes of classes that the class file lacks": "they are dropped: add the class to the class"
    " file if you want them",
    "images with an EXIF rotation": f"{NOTHING_TO_DO}, unless boxes look turned: then store them"
    " upright",
    "annotations of unlisted images": f"{NOTHING_TO_DO}: they are dropped",
    MISNAMED: "ids of another dataset or release? give the"
    " catalog the mapping that these ids belong to; nothing to do where both names mean one thing",
    "labels without an image": "put the images there, or remove the labels",
}
HANDLED = f"{NOTHING_TO_DO}: it is taken care of"


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
        if not self.images and not problems:
            what = f"dataset '{self.dataset}', {self.split}: there is no image"
            fix = "correct the locations in the catalog, or take the split out of it"
            kind = "no images"
            problems.append(
                Problem(dataset=self.dataset, split=self.split, kind=kind, problem=what, fix=fix)
            )
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

    def update(self, later: "SplitCheck") -> None:
        """Take in what was found in more images of the split."""
        self.images += later.images
        self.boxes += later.boxes
        self.background += later.background
        self.errors += later.errors
        self.broken.update(later.broken)
        self.dirt.update(later.dirt)

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

    header: ImageHeader
    identity: Print


@dataclass(frozen=True)
class BrokenImage:
    """An image that was looked at and cannot be used."""

    reason: str
    detail: str


@dataclass(frozen=True)
class CheckTask:
    """One split of one dataset, to be looked at."""

    spec: DatasetSpec
    split: Split
    space: LabelSpace
    decode: bool
    """Decode the pixels of every image, not only where a JPEG lacks its end."""
    similar: bool
    """Take a perceptual hash of every image, too."""
    memory_mb: int


@dataclass(frozen=True)
class CheckedChunk:
    """What was found in some images of a split."""

    check: SplitCheck
    prints: pa.Table
    """Rows of `PRINT_SCHEMA`, of the usable images."""


def checked_chunks(task: CheckTask) -> Iterator[CheckedChunk]:
    """Look at every image of a split; errors of the data are in what it yields."""
    spec, check = task.spec, SplitCheck(task.spec.name, task.split)
    try:
        mapping = LabelMapping.load(spec.mapping, task.space)
    except DamoYoloError as error:
        check.fail(error, kind="broken label mapping")
        yield CheckedChunk(check, PRINT_SCHEMA.empty_table())
        return
    try:
        with open_source(spec, task.split, memory_mb=task.memory_mb) as source:
            if source is not None:
                yield from _of_source(source, mapping, task)
    except DamoYoloError as error:
        check.fail(error, kind="broken annotations")
    yield CheckedChunk(check, PRINT_SCHEMA.empty_table())


def _of_source(source: Source, mapping: LabelMapping, task: CheckTask) -> Iterator[CheckedChunk]:
    dataset, previous = task.spec.name, ""
    unmapped = mapping.unmapped(source.classes)
    classes = None if unmapped else UnifiedCodes.of(source.classes, mapping)
    if unmapped:
        check = SplitCheck(dataset, task.split)
        error = unmapped_error(unmapped, dataset=dataset, mapping=mapping.name)
        check.fail(error, kind="unmapped classes")
        yield CheckedChunk(check, PRINT_SCHEMA.empty_table())
    dirt = Findings()
    for source_id, (name, mapped) in mapping.misnamed(source.classes).items():
        where = f"{source_id} is '{name}' here and '{mapped}' in {mapping.name}"
        dirt.note(MISNAMED, where)
    for chunk in source.chunks(dirt):
        check = SplitCheck(dataset, task.split, images=len(chunk))
        for image_id in chunk.image_ids:
            if image_id == previous:  # image ids come ordered
                check.broken.note("named like another image", f"{dataset}/{image_id}")
            previous = image_id
        usable, images = _examined(chunk, check, task)
        check.dirt.update(dirt.taken())
        if classes is not None:
            _count(usable, [image.header for image in images], classes, check)
        yield CheckedChunk(check, table_of_prints(image.identity for image in images))


def _examined(
    chunk: ImageChunk, check: SplitCheck, task: CheckTask
) -> tuple[ImageChunk, list[UsableImage]]:
    """Return the images of a chunk that can be used, and what their files say."""
    keys = [f"{check.dataset}/{image_id}" for image_id in chunk.image_ids]
    sizes = [(int(width), int(height)) for width, height in chunk.sizes]
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(partial(_examine, task=task), keys, chunk.image_uris, sizes))
    for item in found:
        if isinstance(item, BrokenImage):
            check.broken.note(item.reason, item.detail)
    good = np.array([isinstance(item, UsableImage) for item in found], bool)
    return select_images(chunk, good), [item for item in found if isinstance(item, UsableImage)]


def _examine(
    key: str, uri: str, wanted: tuple[int, int], *, task: CheckTask
) -> UsableImage | BrokenImage:
    try:
        header = read_header(uri)
        tail = read_tail(uri, header)
    except DamoYoloError:
        return BrokenImage("unreadable" if storage.exists(uri) else "missing", uri)
    if all(wanted) and wanted not in {(header.width, header.height), header.upright_size}:
        actual = f"{uri} is {header.width}x{header.height}, annotated {wanted[0]}x{wanted[1]}"
        return BrokenImage("of another size than annotated", actual)
    try:
        look = perceptual_hash(uri) if task.similar else None
        sound = decodes(uri) if task.decode else not is_truncated(uri, header, tail)
    except (OSError, SyntaxError, ValueError):
        look, sound = None, False
    hashed = int.from_bytes(hashlib.blake2b(tail, digest_size=8).digest(), "big")
    identity = Print(key, uri, task.split, header.num_bytes, hashed, look)
    return UsableImage(header, identity) if sound else BrokenImage("damaged", uri)


def _count(
    chunk: ImageChunk, headers: list[ImageHeader], classes: UnifiedCodes, check: SplitCheck
) -> None:
    table = record_table(chunk, check.dataset, classes, findings=check.dirt, headers=headers)
    check.boxes = int(pc.sum(pc.list_value_length(table["class_ids"])).as_py() or 0)
    check.background = len(chunk) - len(np.unique(chunk.owners))
    for header, uri in zip(headers, chunk.image_uris, strict=True):
        if header.mode != "RGB":
            names = {"L": "greyscale images", "CMYK": "CMYK images"}
            check.dirt.note(names.get(header.mode, f"images of mode {header.mode}"), uri)
        if header.format != "JPEG":
            check.dirt.note(f"images stored as {header.format}", uri)
        if header.orientation != 1:
            check.dirt.note("images with an EXIF rotation", uri)
