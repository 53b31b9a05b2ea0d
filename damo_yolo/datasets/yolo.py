"""YOLO txt and data.yaml -> images with objects.

One txt per image, one line per object: class index, centre x, centre y, width, height, as
fractions of the image as a viewer shows it (after its EXIF rotation); or class index and a polygon,
of which the bounding box is read. An image without a txt is background. The class name of data.yaml
is the source id: indices mean nothing outside their file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from damo_yolo import storage
from damo_yolo.datasets.catalog import DatasetSpec, SplitSpec
from damo_yolo.datasets.images import SUFFIXES
from damo_yolo.datasets.source import (
    AnnotatedImage,
    Findings,
    ImageChunk,
    chunks_of,
    excluded_ids,
    files_by_stem,
    read_annotation,
    read_ids,
    without_suffix,
)
from damo_yolo.errors import DataError

BOX_NUMBERS = 4
POLYGON_NUMBERS = 6
"""Three corners, the fewest a polygon can have."""


@dataclass(frozen=True)
class YoloSource:
    """A folder of images and a folder of txt files with the same names."""

    names: Mapping[int, str]
    """Class index to name."""
    image_uris: Mapping[str, str]
    """Image id to image, ordered by image id."""
    label_uris: Mapping[str, str]
    dataset: str

    @property
    def classes(self) -> Mapping[str, str]:
        """Every class of data.yaml: name to name."""
        return {name: name for name in self.names.values()}

    def chunks(self, findings: Findings) -> Iterator[ImageChunk]:
        """Yield the images ordered by image id.

        Raises:
            DataError: a line is neither a box nor a polygon, or its class is not in data.yaml.
        """
        for stem in sorted(self.label_uris.keys() - self.image_uris.keys()):
            findings.note("labels without an image", self.label_uris[stem])
        images = (self._image(key, uri, findings) for key, uri in self.image_uris.items())
        return chunks_of(images, self.classes, fractional=True, upright=True)

    def _image(self, image_id: str, image_uri: str, findings: Findings) -> AnnotatedImage:
        uri = self.label_uris.get(image_id)
        objects = [] if uri is None else list(self._rows(uri, findings))
        return AnnotatedImage(image_id, image_uri, size=(0, 0), objects=objects)

    def _rows(self, uri: str, findings: Findings) -> Iterator[tuple[str, list[float]]]:
        for number, line in enumerate(storage.read_text(uri).splitlines(), start=1):
            if not line.strip():
                continue
            where = f"dataset '{self.dataset}': {uri}, line {number}"
            index, *values = self._numbers(line, where)
            if index not in self.names:
                raise DataError(
                    f"{where}: class {index:g} is not among the {len(self.names)} of data.yaml",
                    fix="add the class to 'names', or correct the line",
                )
            if len(values) != BOX_NUMBERS:
                findings.note("polygons read as boxes", where)
            yield self.names[int(index)], _box(values)

    def _numbers(self, line: str, where: str) -> list[float]:
        try:
            values = [float(text) for text in line.split()]
        except ValueError:
            values = []
        num_coordinates = len(values) - 1
        is_polygon = num_coordinates >= POLYGON_NUMBERS and num_coordinates % 2 == 0
        if num_coordinates != BOX_NUMBERS and not is_polygon:
            raise DataError(
                f"{where} is neither a box nor a polygon: {line.strip()[:60]!r}",
                fix="write: class centre_x centre_y width height, as fractions of the image",
            )
        return values


@contextmanager
def open_yolo(
    spec: DatasetSpec,
    split: SplitSpec,
    *,
    memory_mb: int,  # noqa: ARG001 - one file at a time
) -> Iterator[YoloSource]:
    """Read data.yaml and list images and labels of a split.

    Raises:
        DataError: data.yaml is missing or broken, or there are no images.
    """
    image_uris = files_by_stem(split.images, *SUFFIXES)
    if not image_uris:
        raise DataError(
            f"dataset '{spec.name}': no image is in {split.images}",
            fix="correct the location of 'images' in the catalog",
        )
    if split.image_set is not None:
        wanted = {without_suffix(line) for line in read_ids(split.image_set)}
        endings = {path.rpartition("/")[2] for path in wanted}
        image_uris = {
            stem: uri
            for stem, uri in image_uris.items()
            if stem in wanted or stem.rpartition("/")[2] in endings
        }
    label_uris = files_by_stem(split.annotations, ".txt")
    if image_uris.keys().isdisjoint(label_uris):
        raise DataError(
            f"dataset '{spec.name}': no txt in {split.annotations} is named like an image",
            fix="correct 'annotations' in the catalog: the txt of images/a/1.jpg is labels/a/1.txt"
            " where 'images' is images and 'annotations' is labels",
        )
    excluded = excluded_ids(spec, split)
    yield YoloSource(
        names=_read_names(spec.classes or "", dataset=spec.name),
        image_uris={key: uri for key, uri in image_uris.items() if key not in excluded},
        label_uris=label_uris,
        dataset=spec.name,
    )


def _box(values: list[float]) -> list[float]:
    if len(values) == BOX_NUMBERS:
        x, y, width, height = values
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]


def _read_names(uri: str, *, dataset: str) -> dict[int, str]:
    where = f"dataset '{dataset}', {uri}"
    fix = "give 'names' as a list, or as a mapping of index to name"
    try:
        data = yaml.safe_load(read_annotation(uri))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{where} is not valid YAML: {reason}", fix="correct the syntax") from None
    listed = data.get("names") if isinstance(data, dict) else None
    if isinstance(listed, list):
        listed = dict(enumerate(listed))
    if not isinstance(listed, dict) or not all(str(key).isdecimal() for key in listed):
        raise DataError(f"{where} has no class names", fix=fix)
    names = {int(key): str(name).strip() for key, name in listed.items()}
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise DataError(f"{where} has two classes named '{twice[0]}'", fix="rename one of them")
    return names
