"""Render the sample: three datasets of sprites on photographs, and their fully annotated copy."""

import hashlib
from collections import Counter

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.datasets.sample.annotate import DrawnImage
from damo_yolo.datasets.sample.classes import CLASSES, VOCABULARIES
from damo_yolo.datasets.sample.material import load_material
from damo_yolo.datasets.sample.plan import SampleConfig
from damo_yolo.datasets.sample.render import FULL, RenderedSplit, render
from damo_yolo.errors import ConfigError

RESULT = "result.json"


class SampleClassCount(Config):
    """A class of the sample, and how often it can be seen."""

    unified_id: int
    name: str
    emoji: str
    annotated_by: tuple[str, ...]
    train_boxes: dict[str, int]
    """By dataset, groups not counted."""
    full_boxes: int
    """In the fully annotated validation copy, groups not counted."""


class SampleResult(Config):
    """Content of `result.json`."""

    config: SampleConfig
    catalog: str = "catalog.yaml"
    """Below the sample's folder."""
    num_images: int
    """Without the copies in `full`."""
    images: dict[str, dict[str, int]]
    """Dataset and split to its images."""
    boxes: dict[str, dict[str, int]]
    """Dataset and split to its boxes, groups not counted."""
    drawn_objects: dict[str, dict[str, int]]
    """Dataset and split to the objects in its pixels, annotated or not, groups not counted."""
    classes: tuple[SampleClassCount, ...]
    packages: dict[str, str]
    """Where sprites and photographs came from, with versions."""
    sha256: str
    """Of the lines `sha256  path` of all other files, in path order."""


def render_sample(
    out_uri: str, *, seed: int = 0, scale: float = 1.0, num_val_images: int = 40
) -> SampleResult:
    """Write the sample's images, annotations, `catalog.yaml`, `ATTRIBUTION.md` and `result.json`.

    Args:
        out_uri: folder to write.
        seed: the same seed gives the same bytes.
        scale: factor on the training images, 64, 256 and 512.
        num_val_images: validation images of each of the three datasets.

    Raises:
        MissingExtraError: the packages with sprites and photographs are not installed.
        ConfigError: a setting is out of range, or the folder holds a sample of other settings.
        StorageError: the folder cannot be written.
    """
    config = SampleConfig.from_mapping(
        {"seed": seed, "scale": scale, "num_val_images": num_val_images}, source="sample"
    )
    material = load_material()
    _require_same(out_uri, config)
    digests: dict[str, str] = {}
    splits: list[RenderedSplit] = []
    for item in render(config, material):
        if isinstance(item, RenderedSplit):
            splits.append(item)
        else:
            storage.write_bytes(storage.join(out_uri, item.path), item.content)
            digests[item.path] = hashlib.sha256(item.content).hexdigest()
    listing = "".join(f"{digests[path]}  {path}\n" for path in sorted(digests))
    result = SampleResult(
        config=config,
        num_images=sum(len(split.images) for split in splits if split.dataset != FULL),
        images=_by_split({_key(split): len(split.images) for split in splits}),
        boxes=_by_split({_key(split): _boxes(split).total() for split in splits}),
        drawn_objects=_by_split({_key(split): _drawn(split).total() for split in splits}),
        classes=_class_counts(splits),
        packages=dict(material.versions),
        sha256=hashlib.sha256(listing.encode()).hexdigest(),
    )
    storage.write_text(storage.join(out_uri, RESULT), result.model_dump_json(indent=2) + "\n")
    return result


def _require_same(out_uri: str, config: SampleConfig) -> None:
    """Refuse to mix samples: images of the older one would stay beside the new ones."""
    location = storage.join(out_uri, RESULT)
    if not storage.exists(location):
        return
    there = SampleResult.from_yaml(storage.read_text(location), source=location).config
    if there != config:
        settings = ", ".join(f"{name} {value}" for name, value in there.model_dump().items())
        raise ConfigError(
            f"{out_uri} holds a sample of other settings: {settings}",
            fix="choose an empty folder, or remove that one",
        )


def _key(split: RenderedSplit) -> tuple[str, str]:
    return split.dataset, split.split


def _by_split(counts: dict[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (dataset, split), count in counts.items():
        nested.setdefault(dataset, {})[split] = count
    return nested


def _drawn(split: RenderedSplit) -> Counter[int]:
    """Count the objects in the pixels by index into CLASSES."""
    return Counter(o.index for image in split.images for o in image.objects if not o.is_group)


def _boxes(split: RenderedSplit) -> Counter[int]:
    """Count the boxes in the annotation files by index into CLASSES."""
    if split.dataset == FULL:
        return _drawn(split)
    return Counter(
        item.index
        for image in split.images
        for item in image.objects
        if not item.is_group and _is_annotated(split.dataset, image, item.index)
    )


def _is_annotated(dataset: str, image: DrawnImage, index: int) -> bool:
    if image.verified is not None:
        return index in image.verified
    return dataset in CLASSES[index].datasets


def _class_counts(splits: list[RenderedSplit]) -> tuple[SampleClassCount, ...]:
    boxes = {_key(split): _boxes(split) for split in splits}
    return tuple(
        SampleClassCount(
            unified_id=item.unified_id,
            name=item.name,
            emoji=chr(int(item.codepoint, 16)),
            annotated_by=item.datasets,
            train_boxes={name: boxes[name, "train"][index] for name in VOCABULARIES},
            full_boxes=boxes[FULL, "val"][index],
        )
        for index, item in enumerate(CLASSES)
    )
