"""The classes of the sample: official ids, mids and spellings, and who annotates what.

Ids and names are those of the releases: COCO 2017, Objects365 2020 (title case, typos and stray
blanks kept), and the Open Images challenge of 2019, whose class file has two classes "Mouse".
The tables of the datasets are ordered, the most frequent class first: each has another head.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

DatasetName = Literal["coco", "objects365", "openimages"]


class SampleClass(NamedTuple):
    """One kind of object and its sprite."""

    unified_id: int
    """Id in the builtin label space."""
    name: str
    """Name in the builtin label space."""
    codepoint: str
    """Of the emoji, lower-case hex: the stem of its Twemoji file."""

    @property
    def datasets(self) -> tuple[DatasetName, ...]:
        """The datasets that annotate the class."""
        return tuple(name for name, known in VOCABULARIES.items() if self.unified_id in known)


class CocoCategory(NamedTuple):
    """An entry of the COCO category list."""

    id: int
    name: str
    supercategory: str


class Objects365Category(NamedTuple):
    """An entry of the Objects365 category list of 2020."""

    id: int
    name: str


class OpenImagesClass(NamedTuple):
    """A class of the Open Images challenge of 2019."""

    mid: str
    name: str
    ancestors: str = ""
    """Mids from just below the root of the class tree down to the parent."""


CLASSES = (
    SampleClass(157, "bus", "1f68c"),
    SampleClass(149, "apple", "1f34e"),
    SampleClass(163, "banana", "1f34c"),
    SampleClass(172, "pizza", "1f355"),
    SampleClass(170, "donut", "1f369"),
    SampleClass(174, "broccoli", "1f966"),
    SampleClass(162, "computer mouse", "1f5b1"),
    SampleClass(140, "umbrella", "2602"),
    SampleClass(3, "cake", "1f382"),
    SampleClass(4, "bird", "1f426"),
    SampleClass(128, "handbag", "1f45c"),
    SampleClass(37, "balloon", "1f388"),
    SampleClass(100, "butterfly", "1f98b"),
    SampleClass(33, "guitar", "1f3b8"),
    SampleClass(60, "grapes", "1f347"),
    SampleClass(83, "penguin", "1f427"),
    SampleClass(375, "kite (COCO)", "1fa81"),
    SampleClass(206, "basket", "1f9fa"),
    SampleClass(329, "mushroom (Objects365)", "1f344"),
    SampleClass(334, "race car", "1f3ce"),
    SampleClass(199, "tv", "1f4fa"),
    SampleClass(586, "mouse (rodent)", "1f42d"),
    SampleClass(489, "sunflower", "1f33b"),
    SampleClass(553, "frog", "1f438"),
    SampleClass(658, "crown", "1f451"),
)

COCO: Mapping[int, CocoCategory] = {
    375: CocoCategory(38, "kite", "sports"),
    3: CocoCategory(61, "cake", "food"),
    128: CocoCategory(31, "handbag", "accessory"),
    4: CocoCategory(16, "bird", "animal"),
    157: CocoCategory(6, "bus", "vehicle"),
    149: CocoCategory(53, "apple", "food"),
    172: CocoCategory(59, "pizza", "food"),
    162: CocoCategory(74, "mouse", "electronic"),
    163: CocoCategory(52, "banana", "food"),
    140: CocoCategory(28, "umbrella", "accessory"),
    174: CocoCategory(56, "broccoli", "food"),
    170: CocoCategory(60, "donut", "food"),
}
"""Unified id to category."""

OBJECTS365: Mapping[int, Objects365Category] = {
    334: Objects365Category(309, "Formula 1 "),
    206: Objects365Category(53, "Bakset"),
    4: Objects365Category(57, "Wild Bird"),
    199: Objects365Category(38, "Moniter/TV"),
    329: Objects365Category(292, "Mushroon"),
    3: Objects365Category(98, "Cake"),
    37: Objects365Category(91, "Ballon"),
    149: Objects365Category(83, "Apple"),
    33: Objects365Category(60, "Guitar"),
    157: Objects365Category(56, "Bus"),
    60: Objects365Category(180, "Grape"),
    162: Objects365Category(116, "Mouse"),
    100: Objects365Category(322, "Buttefly"),
    83: Objects365Category(258, "Penguin"),
    174: Objects365Category(142, "Broccoli"),
    140: Objects365Category(40, "Umbrella"),
    172: Objects365Category(144, "Pizza"),
    163: Objects365Category(113, "Banana"),
    170: Objects365Category(151, "Donut"),
}
"""Unified id to category."""

OPENIMAGES: Mapping[int, OpenImagesClass] = {
    489: OpenImagesClass("/m/0ftb8", "Sunflower", "/m/0c9ph5"),
    586: OpenImagesClass("/m/04rmv", "Mouse", "/m/0jbk"),
    553: OpenImagesClass("/m/09ld4", "Frog", "/m/0jbk /m/06bt6"),
    658: OpenImagesClass("/m/0nl46", "Crown"),
    83: OpenImagesClass("/m/05z6w", "Penguin", "/m/0jbk /m/015p6"),
    170: OpenImagesClass("/m/0jy4k", "Doughnut"),
    100: OpenImagesClass("/m/0cyf8", "Butterfly", "/m/0jbk /m/03xxp /m/03vt0 /m/0d_2m"),
    163: OpenImagesClass("/m/09qck", "Banana", "/m/02xwb"),
    128: OpenImagesClass("/m/080hkjn", "Handbag", "/m/0hf58v5"),
    60: OpenImagesClass("/m/0388q", "Grape", "/m/02xwb"),
    140: OpenImagesClass("/m/0hnnb", "Umbrella"),
    162: OpenImagesClass("/m/020lf", "Mouse"),
    172: OpenImagesClass("/m/0663v", "Pizza"),
    174: OpenImagesClass("/m/0hkxq", "Broccoli", "/m/0f4s2w"),
    33: OpenImagesClass("/m/0342h", "Guitar", "/m/04szw"),
    37: OpenImagesClass("/m/01j51", "Balloon", "/m/0138tl"),
    157: OpenImagesClass("/m/01bjv", "Bus", "/m/07yv9 /m/01prls"),
    149: OpenImagesClass("/m/014j1m", "Apple", "/m/02xwb"),
}
"""Unified id to class."""

OPENIMAGES_ROOT = "/m/0bl9f"
"""Root of the class tree; no class itself."""

VOCABULARIES: Mapping[DatasetName, Mapping[int, NamedTuple]] = {
    "coco": COCO,
    "objects365": OBJECTS365,
    "openimages": OPENIMAGES,
}
"""What each dataset annotates, the most frequent class first."""
