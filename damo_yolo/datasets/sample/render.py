"""The files of the sample, one after the other: images, annotations, catalog, attribution.

Nothing is written here. The same config gives the same bytes with the same packages.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import yaml

from damo_yolo.datasets.catalog import SPLITS, Catalog, DatasetSpec, Split, SplitSpec
from damo_yolo.datasets.sample import annotate
from damo_yolo.datasets.sample.annotate import DrawnImage
from damo_yolo.datasets.sample.classes import CLASSES, OPENIMAGES, VOCABULARIES, DatasetName
from damo_yolo.datasets.sample.material import Material, attribution
from damo_yolo.datasets.sample.plan import PlannedImage, SampleConfig, generator, plan_images
from damo_yolo.datasets.sample.scene import draw_scene

FULL = "full"
JPEG_QUALITY = 90
VERIFIED_SHARE = 0.9
"""Part of the Open Images classes that somebody looked for in an image."""
OBJECTS365_PATCH = 64
"""Images of an Objects365 patch folder."""
OBJECTS365_GENERATIONS = ((1, 0, 0), (2, 900_000, 16))
"""Number of the folder `v1` or `v2`, and where its image ids and patch folders begin."""
FIRST_ID: dict[Split, int] = {"train": 1, "val": 400_001}

LICENCE = "CC BY 4.0"
_BOXES = "openimages/{}-annotations-bbox.csv"
_LABELS = "openimages/{}-annotations-human-imagelabels-boxable.csv"
_OPENIMAGES_SPLIT: dict[Split, str] = {"train": "train", "val": "validation"}
_CLASSES = "openimages/challenge-2019-classes-description-500.csv"
_HIERARCHY = "openimages/challenge-2019-label500-hierarchy.json"


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A file of the sample."""

    path: str
    """Below the sample's folder."""
    content: bytes


@dataclass(frozen=True, slots=True)
class RenderedSplit:
    """A split, complete: what its annotation files were made of."""

    dataset: str
    split: Split
    images: tuple[DrawnImage, ...]


def render(config: SampleConfig, material: Material) -> Iterator[RenderedFile | RenderedSplit]:
    """Yield every file of the sample, and each split after its files; the catalog comes last."""
    copies: list[DrawnImage] = []
    for dataset in VOCABULARIES:
        for split in SPLITS:
            drawn = []
            for plan in plan_images(config, dataset, split):
                image, jpeg = _draw(config, plan, material)
                drawn.append(image)
                yield RenderedFile(_image_path(dataset, split, image), jpeg)
                if split == "val":
                    copies.append(_copy_of(image, len(copies)))
                    yield RenderedFile(f"{FULL}/val/{copies[-1].file_name}", jpeg)
            yield from _annotations(dataset, split, drawn)
            yield RenderedSplit(dataset, split, tuple(drawn))
    yield RenderedFile(
        f"{FULL}/annotations/instances_val.json", annotate.coco_json(copies, annotate.FULL_DIALECT)
    )
    yield RenderedSplit(FULL, "val", tuple(copies))
    yield RenderedFile(_CLASSES, annotate.openimages_classes())
    yield RenderedFile(_HIERARCHY, annotate.openimages_hierarchy())
    yield RenderedFile("ATTRIBUTION.md", attribution(material).encode())
    catalog = sample_catalog().model_dump(mode="json", exclude_none=True)
    yield RenderedFile("catalog.yaml", yaml.safe_dump(catalog, sort_keys=False).encode())


def sample_catalog() -> Catalog:
    """Return the catalog, with locations relative to the sample's folder."""
    openimages = {
        split: SplitSpec(
            annotations=_BOXES.format(name),
            image_labels=_LABELS.format(name),
            images=f"openimages/{name}",
        )
        for split, name in _OPENIMAGES_SPLIT.items()
    }
    return Catalog(
        name="sample",
        evaluation=FULL,
        datasets=(
            DatasetSpec(
                name="coco",
                format="coco",
                mapping="coco",
                licence=LICENCE,
                train=_json_split("coco", "train"),
                val=_json_split("coco", "val"),
            ),
            DatasetSpec(
                name="objects365",
                format="objects365",
                mapping="objects365_v2",
                sampling="inverse_frequency",
                licence=LICENCE,
                train=_json_split("objects365", "train"),
                val=_json_split("objects365", "val"),
            ),
            DatasetSpec(
                name="openimages",
                format="openimages",
                mapping="openimages_500",
                sampling="inverse_frequency",
                licence=LICENCE,
                classes=_CLASSES,
                hierarchy=_HIERARCHY,
                train=openimages["train"],
                val=openimages["val"],
            ),
            DatasetSpec(
                name=FULL,
                format="coco",
                mapping="unified",
                licence=LICENCE,
                val=_json_split(FULL, "val"),
            ),
        ),
    )


def _json_split(dataset: str, split: Split) -> SplitSpec:
    return SplitSpec(annotations=_json_path(dataset, split), images=f"{dataset}/{split}")


def _json_path(dataset: str, split: Split) -> str:
    name = "zhiyuan_objv2" if dataset == "objects365" else "instances"
    return f"{dataset}/annotations/{name}_{split}.json"


def _annotations(
    dataset: DatasetName, split: Split, images: Sequence[DrawnImage]
) -> Iterator[RenderedFile]:
    if dataset == "openimages":
        name = _OPENIMAGES_SPLIT[split]
        yield RenderedFile(_BOXES.format(name), annotate.openimages_boxes(images))
        yield RenderedFile(_LABELS.format(name), annotate.openimages_image_labels(images))
    else:
        dialect = annotate.COCO_DIALECT if dataset == "coco" else annotate.OBJECTS365_DIALECT
        yield RenderedFile(_json_path(dataset, split), annotate.coco_json(images, dialect))


def _draw(config: SampleConfig, plan: PlannedImage, material: Material) -> tuple[DrawnImage, bytes]:
    rng = generator(config.seed, plan.dataset, plan.split, plan.number)
    photographs = material.train if plan.split == "train" else material.val
    scene = draw_scene(plan, material.sprites, photographs, rng)
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    height, width = scene.image.shape[:2]
    image = _named(config, plan, DrawnImage(0, "", "", width, height, scene.objects))
    if plan.dataset == "openimages":
        looked_for = rng.random(len(CLASSES)) < VERIFIED_SHARE
        own = (i for i, item in enumerate(CLASSES) if item.unified_id in OPENIMAGES)
        image = replace(image, verified=frozenset(i for i in own if looked_for[i]))
    return image, encoded.tobytes()


def _named(config: SampleConfig, plan: PlannedImage, image: DrawnImage) -> DrawnImage:
    """Give the image an id and names in the manner of its dataset."""
    if plan.dataset == "openimages":
        text = f"{config.seed}/{plan.split}/{plan.number}"
        stem = hashlib.sha256(text.encode()).hexdigest()[:16]
        return replace(image, id=plan.number, stem=stem, file_name=f"{stem}.jpg")
    if plan.dataset == "coco":
        number = plan.number + FIRST_ID[plan.split]
        stem = f"{number:012d}"
        return replace(image, id=number, stem=stem, file_name=f"{stem}.jpg")
    return _named_objects365(plan, image)


def _named_objects365(plan: PlannedImage, image: DrawnImage) -> DrawnImage:
    """Name the image as the release of 2020 does: two generations, numbered patch folders."""
    generation, first_id, first_patch = OBJECTS365_GENERATIONS[plan.number % 2]
    number = plan.number + FIRST_ID[plan.split] + first_id
    patch = plan.number // OBJECTS365_PATCH + first_patch
    stem = f"objects365_v{generation}_{number:08d}"
    name = f"images/v{generation}/patch{patch}/{stem}.jpg"
    return replace(image, id=number, stem=stem, file_name=name)


def _image_path(dataset: DatasetName, split: Split, image: DrawnImage) -> str:
    if dataset == "openimages":
        return f"openimages/{_OPENIMAGES_SPLIT[split]}/{image.file_name}"
    # The archives of Objects365 hold patchN/x.jpg where its json says images/v1/patchN/x.jpg.
    inside = image.file_name.split("/", 2)[-1] if dataset == "objects365" else image.file_name
    return f"{dataset}/{split}/{inside}"


def _copy_of(image: DrawnImage, number: int) -> DrawnImage:
    return replace(image, id=number + 1, file_name=f"{image.stem}.jpg", verified=None)
