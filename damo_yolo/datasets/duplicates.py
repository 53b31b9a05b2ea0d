"""Pictures that come twice: byte for byte, or to the eye; across datasets and splits.

No image is compared with all others. Equal files are looked for among those of equal size and
equal last bytes. Pictures that look alike have hashes that differ in few bits, so of six blocks of
bits at least two agree: images are sorted by each of the 15 pairs of blocks, and only neighbours
compared. What tells images apart is kept in columns; only those that match become objects.

Shapes: I images, H different hashes.
"""

import io
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from damo_yolo import storage
from damo_yolo.datasets.catalog import Split

NEAR_BITS = 4
"""Perceptual hashes of 64 bits that differ in no more than this many are taken for one picture."""
BLOCKS = ((0, 11), (11, 22), (22, 33), (33, 44), (44, 54), (54, 64))
"""Bits of each block: two more blocks than bits that may differ."""
HASH_SIDE = 256
"""A JPEG is decoded at the smallest scale whose sides reach this, pixels."""
PAIRS_LISTED_IN_FULL = 64
"""Of larger groups of one picture, every image is named with the first of each dataset only."""

PRINT_SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "uri": pa.string(),
        "split": pa.string(),
        "num_bytes": pa.int64(),
        "tail": pa.uint64(),
        "look": pa.uint64(),
    }
)

Kind = Literal["exact", "near"]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Print:
    """What tells an image from others."""

    key: str
    uri: str
    split: Split
    num_bytes: int
    tail: int
    """Hash of the last bytes of the file."""
    look: int | None = None
    """Perceptual hash; None: not looked at."""

    @property
    def part(self) -> tuple[str, str]:
        """Dataset and split."""
        return self.key.partition("/")[0], self.split


@dataclass(frozen=True, slots=True)
class Match:
    """Two images of one picture; of a val and a train image, the val image comes first."""

    first: Print
    second: Print
    kind: Kind

    @property
    def is_leak(self) -> bool:
        """One is validated on and the other trained on."""
        return self.first.split != self.second.split

    @property
    def is_across_datasets(self) -> bool:
        """They belong to different datasets."""
        return self.first.part[0] != self.second.part[0]


def table_of_prints(prints: Iterable[Print]) -> pa.Table:
    """Return a table of `PRINT_SCHEMA`, a row for each image."""
    return pa.Table.from_pylist([asdict(one) for one in prints], schema=PRINT_SCHEMA)


def find_matches(prints: pa.Table) -> list[Match]:
    """Return the pairs of images that show one picture, ordered by key, exact ones as such only.

    Args:
        prints: table of `PRINT_SCHEMA`.
    """
    exact = {_ordered(*pair) for group in _identical(prints) for pair in _pairs(group, group)}
    near = {_ordered(*pair) for ours, others in _alike(prints) for pair in _pairs(ours, others)}
    found = [Match(*pair, "exact") for pair in exact]
    found += [Match(*pair, "near") for pair in near - exact]
    return sorted(found, key=lambda match: (match.first.key, match.second.key))


def near_pairs(hashes: Hashes) -> NDArray[np.int64]:
    """Return (P, 2) places of hashes that differ in 1 to `NEAR_BITS` bits, each pair once.

    Args:
        hashes: (H,) all different.
    """
    bits = [hashes >> np.uint64(low) & np.uint64((1 << high - low) - 1) for low, high in BLOCKS]
    packed = [np.zeros(0, np.int64)]
    for one, other in combinations(range(len(BLOCKS)), 2):
        keys = bits[one] << np.uint64(11) | bits[other]
        order = np.argsort(keys, kind="stable")
        packed += _near_neighbours(hashes[order], keys[order], order)
    together = np.unique(np.concatenate(packed))
    return np.stack((together >> 32, together & 0xFFFF_FFFF), axis=1)


def perceptual_hash(uri: str) -> int:
    """Return a 64-bit hash that small changes of size or compression leave nearly as it is.

    Raises:
        OSError: the image does not decode.
    """
    import imagehash  # noqa: PLC0415 - needs scipy, and only this option needs it

    with warnings.catch_warnings(), Image.open(io.BytesIO(storage.read_bytes(uri))) as image:
        warnings.simplefilter("ignore", UserWarning)  # a palette's transparency does not matter
        image.draft("RGB", (HASH_SIDE, HASH_SIDE))
        bits = imagehash.phash(image.convert("L")).hash
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big")


def _identical(prints: pa.Table) -> Iterator[list[Print]]:
    files = np.stack([prints[name].to_numpy() for name in ("num_bytes", "tail")]).astype(np.uint64)
    _, group = np.unique(files, axis=1, return_inverse=True)
    repeated = np.flatnonzero(np.bincount(group)[group] > 1) if len(group) else group
    same = defaultdict(list)
    for row, image in zip(repeated.tolist(), _prints_at(prints, repeated), strict=True):
        same[int(group[row]), storage.sha256(image.uri)].append(image)
    yield from same.values()


def _alike(prints: pa.Table) -> Iterator[tuple[list[Print], list[Print]]]:
    looked = prints.filter(pc.is_valid(prints["look"]))
    hashes, group, counts = np.unique(
        looked["look"].to_numpy(), return_inverse=True, return_counts=True
    )
    pairs = near_pairs(hashes)
    involved = counts > 1
    involved[pairs.reshape(-1)] = True
    rows = np.flatnonzero(involved[group])
    images = defaultdict(list)
    for row, image in zip(rows.tolist(), _prints_at(looked, rows), strict=True):
        images[int(group[row])].append(image)
    for same in images.values():
        yield same, same
    for one, other in pairs.tolist():
        yield images[one], images[other]


def _prints_at(prints: pa.Table, rows: NDArray[np.int64]) -> list[Print]:
    return [Print(**values) for values in prints.take(pa.array(rows)).to_pylist()]


def _near_neighbours(hashes: Hashes, keys: Hashes, places: Ints) -> Iterator[Ints]:
    """Compare hashes of equal key, those one apart first, then two; yield packed pairs."""
    left = np.flatnonzero(keys[1:] == keys[:-1])
    lag = 1
    while len(left):
        close = left[np.bitwise_count(hashes[left] ^ hashes[left + lag]) <= NEAR_BITS]
        ends = np.sort(np.stack((places[close], places[close + lag])), axis=0)
        yield ends[0] << 32 | ends[1]
        lag += 1
        left = left[left + lag < len(keys)]
        left = left[keys[left] == keys[left + lag]]


def _pairs(ours: list[Print], others: list[Print]) -> Iterator[tuple[Print, Print]]:
    if len(ours) * len(others) > PAIRS_LISTED_IN_FULL:
        first = {image.part: image for image in reversed(ours)}
        pairs = product(first.values(), others)
    else:
        pairs = product(ours, others)
    return ((one, other) for one, other in pairs if one.key != other.key)


def _ordered(one: Print, other: Print) -> tuple[Print, Print]:
    def rank(image: Print) -> tuple[bool, str]:
        return image.split != "val", image.key

    first, second = sorted((one, other), key=rank)
    return first, second
