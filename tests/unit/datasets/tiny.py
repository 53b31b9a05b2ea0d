"""Tiny datasets on disk: a few painted images and the annotations a test asks for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from damo_yolo.datasets.catalog import Catalog, load_catalog
from damo_yolo.datasets.readers import read_dataset
from damo_yolo.datasets.source import Findings
from damo_yolo.labels.mapping import LabelMapping
from damo_yolo.labels.space import LabelSpace
from damo_yolo.samples import ImageRecord

CATEGORIES = [{"id": 0, "name": "cat "}, {"id": 7, "name": "dog"}]
MAPPING = "source_id,source_name,unified_id,also_unknown\n0,cat,1,2\n7,dog,0,\n"
SPACE = "unified_id,name\n0,dog\n1,cat\n2,animal\n"


def paint(path: Path, size: tuple[int, int] = (64, 48), *, seed: int = 0, **options: Any) -> None:
    """Write an image of coloured noise; `mode` converts it, the rest goes to Pillow's save."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(pixels).convert(options.pop("mode", "RGB"))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def turned(orientation: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def annotation(image_id: int, category_id: int, bbox: Any, **more: Any) -> dict[str, Any]:
    """Return a COCO annotation."""
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


def write_coco(
    folder: Path,
    annotations: list[dict[str, Any]],
    *,
    names: tuple[str, ...] = ("a.jpg",),
    split: str = "train",
) -> None:
    """Write <split>.json with images 0, 1, ... of 64 x 48 pixels, and paint them."""
    for seed, name in enumerate(names):
        paint(folder / split / name, seed=seed + 100 * (split == "val"))
    images = [
        {"id": place, "file_name": name, "width": 64, "height": 48}
        for place, name in enumerate(names)
    ]
    data = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / f"{split}.json").write_text(json.dumps(data))


def write_catalog(folder: Path, *datasets: dict[str, Any], **fields: Any) -> Path:
    """Write catalog.yaml, the space of three classes and the mapping of `CATEGORIES`."""
    (folder / "space.csv").write_text(SPACE)
    (folder / "map.csv").write_text(MAPPING)
    values = {"name": "tiny", "label_space": "space.csv", "evaluation": datasets[0]["name"]}
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump({**values, "datasets": list(datasets), **fields}))
    return path


def coco_spec(**more: Any) -> dict[str, Any]:
    """Return the catalog entry of what `write_coco` wrote in both splits."""
    return {
        "name": "pets",
        "format": "coco",
        "mapping": "map.csv",
        "train": {"annotations": "train.json", "images": "train"},
        "val": {"annotations": "val.json", "images": "val"},
        **more,
    }


def pets(folder: Path, annotations: list[dict[str, Any]], **more: Any) -> Catalog:
    """Write a COCO dataset with these train annotations and one val image, and its catalog."""
    write_coco(folder, annotations, **more)
    write_coco(folder, [annotation(0, 7, [0, 0, 10, 10])], names=("v.jpg",), split="val")
    return load_catalog(str(write_catalog(folder, coco_spec())))


def read(catalog: Catalog, findings: Findings | None = None) -> list[ImageRecord]:
    """Return the train records of a catalog's first dataset."""
    space = LabelSpace.load(catalog.label_space)
    spec = catalog.datasets[0]
    mapping = LabelMapping.load(spec.mapping, space)
    return list(read_dataset(spec, "train", mapping, findings=findings))
