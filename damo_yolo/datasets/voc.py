"""Pascal VOC XML -> images with objects.

The class name is the source id: the format has no other. Coordinates are taken as they stand;
exporters disagree on whether they count from 0 or 1, which is within a pixel.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from xml.parsers import expat

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.images import SUFFIXES
from damo_yolo.datasets.source import (
    UNSIZED,
    AnnotatedImage,
    Findings,
    ImageChunk,
    chunks_of,
    excluded_ids,
    files_by_stem,
    read_ids,
    without_suffix,
)
from damo_yolo.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocSource:
    """A folder of XML files, one for each image."""

    annotation_uris: Mapping[str, str]
    """Image id to XML, ordered by image id."""
    image_uris: Mapping[str, str]
    """Path below the image folder, without suffix, to image."""
    image_folder: str
    dataset: str

    @cached_property
    def classes(self) -> Mapping[str, str]:
        """Every class name that occurs, to itself."""
        names = {
            self._name(item, uri)
            for uri in self.annotation_uris.values()
            for item in self._parse(uri).iter("object")
        }
        return {name: name for name in sorted(names)}

    def chunks(self, findings: Findings) -> Iterator[ImageChunk]:
        """Yield the images ordered by image id.

        Raises:
            DataError: a file is not XML, or an object has no name or no box of four numbers.
        """
        images = (self._image(key, uri, findings) for key, uri in self.annotation_uris.items())
        return chunks_of(images, self.classes, fractional=False, upright=False)

    def _image(self, image_id: str, uri: str, findings: Findings) -> AnnotatedImage:
        root = self._parse(uri)
        width, height = self._side(root, "width", uri), self._side(root, "height", uri)
        if not width or not height:
            findings.note(UNSIZED, uri)
        return AnnotatedImage(
            image_id=image_id,
            image_uri=self._image_uri(image_id, root),
            size=(width, height),
            objects=[(self._name(item, uri), self._box(item, uri)) for item in root.iter("object")],
        )

    def _image_uri(self, image_id: str, root: ET.Element) -> str:
        """Return the image with the stem of the XML; failing that, the one the XML names."""
        named = (root.findtext("filename") or "").strip()
        for stem in (image_id, without_suffix(named)):
            if stem in self.image_uris:
                return self.image_uris[stem]
        return storage.join(self.image_folder, named or f"{image_id}.jpg")

    def _parse(self, uri: str) -> ET.Element:
        try:
            return ET.fromstring(storage.read_bytes(uri))
        except ET.ParseError as error:
            line, column = error.position
            raise DataError(
                f"dataset '{self.dataset}': {uri} is not valid XML:"
                f" {expat.ErrorString(error.code)} at line {line}, column {column}",
                fix="correct the file, or list the image in the split's 'exclude'",
            ) from None

    def _name(self, item: ET.Element, uri: str) -> str:
        name = (item.findtext("name") or "").strip()
        if not name:
            raise self._broken(uri, "an object has no name")
        return name

    def _box(self, item: ET.Element, uri: str) -> list[float]:
        texts = [item.findtext(f"bndbox/{corner}") for corner in CORNERS]
        try:
            return [float(text or "none") for text in texts]
        except ValueError:
            raise self._broken(
                uri, f"object '{self._name(item, uri)}' has no box of four numbers: {texts}"
            ) from None

    def _side(self, root: ET.Element, side: str, uri: str) -> int:
        text = (root.findtext(f"size/{side}") or "").strip() or "0"
        try:
            return int(float(text))
        except ValueError:
            raise self._broken(uri, f"{side} is {text!r}, not a number") from None

    def _broken(self, uri: str, what: str) -> DataError:
        return DataError(
            f"dataset '{self.dataset}': {uri}: {what}",
            fix="correct the file, or list the image in the split's 'exclude'",
        )


@contextmanager
def open_voc(
    spec: DatasetSpec,
    split: SplitSpec,
    *,
    memory_mb: int,  # noqa: ARG001 - one file at a time
) -> Iterator[VocSource]:
    """List the XML files of a split.

    Raises:
        DataError: there are none, or one that the image set names is missing.
    """
    folder = split.annotations
    found = files_by_stem(folder, ".xml")
    if not found:
        raise DataError(
            f"dataset '{spec.name}': no XML file is in {folder}",
            fix="correct the location of 'annotations' in the catalog",
        )
    if split.image_set is not None:
        found = _only_listed(found, spec, split, split.image_set)
    excluded = excluded_ids(spec, split)
    yield VocSource(
        annotation_uris={key: uri for key, uri in found.items() if key not in excluded},
        image_uris=files_by_stem(split.images, *SUFFIXES),
        image_folder=split.images,
        dataset=spec.name,
    )


def _only_listed(
    found: dict[str, str], spec: DatasetSpec, split: SplitSpec, image_set: str
) -> dict[str, str]:
    # A class's own list has a second column: 1, 0 or -1.
    wanted = {line if line in found else line.split()[0] for line in read_ids(image_set)}
    missing = sorted(wanted - found.keys())
    if missing:
        raise DataError(
            f"dataset '{spec.name}': {len(missing)} images of {image_set} have no XML file,"
            f" first: {missing[0]}",
            fix=f"put it into {split.annotations}, or take it off the list",
        )
    return {key: uri for key, uri in found.items() if key in wanted}
