"""Validation images that are in the training data too, byte for byte or to the eye."""

import io
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from damo_yolo import storage

NEAR_BITS = 4
"""Perceptual hashes of 64 bits that differ in no more than this many are taken for one picture."""
HASH_SIDE = 256
"""A JPEG is decoded at the smallest scale whose sides reach this, pixels."""


@dataclass
class LeakFinder:
    """Collects images of both splits; feed it all of val before any of train."""

    val_by_size: dict[int, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    """Key and location of the val images of each file size, bytes."""
    train_by_size: dict[int, list[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """The same of those train images whose size occurs in val: candidates for equality."""

    def add_val(self, key: str, uri: str, *, num_bytes: int) -> None:
        """Take in a validation image."""
        self.val_by_size[num_bytes].append((key, uri))

    def add_train(self, key: str, uri: str, *, num_bytes: int) -> None:
        """Take in a training image; kept only where a validation image has its file size."""
        if num_bytes in self.val_by_size:
            self.train_by_size[num_bytes].append((key, uri))

    def identical(self) -> list[tuple[str, str]]:
        """Return val key and train key of files with the same bytes, ordered."""
        pairs = []
        for num_bytes in sorted(self.train_by_size):
            train = defaultdict(list)
            for key, uri in self.train_by_size[num_bytes]:
                train[storage.sha256(uri)].append(key)
            for key, uri in self.val_by_size[num_bytes]:
                pairs += [(key, other) for other in train.get(storage.sha256(uri), ())]
        return sorted(pairs)


def perceptual_hash(uri: str) -> int:
    """Return a 64-bit hash that small changes of size or compression leave nearly as it is.

    Raises:
        OSError: the image does not decode.
    """
    import imagehash  # noqa: PLC0415 - needs scipy, and only this option needs it

    with Image.open(io.BytesIO(storage.read_bytes(uri))) as image:
        image.draft("RGB", (HASH_SIDE, HASH_SIDE))
        bits = imagehash.phash(image.convert("L")).hash
    return int.from_bytes(np.packbits(bits.reshape(-1)).tobytes(), "big")


def near_pairs(
    val_hashes: NDArray[np.uint64], train_hashes: NDArray[np.uint64]
) -> list[tuple[int, int]]:
    """Return rows of (V,) and (T,) hashes that differ in at most `NEAR_BITS` bits."""
    pairs = []
    for row, value in enumerate(val_hashes):
        distance = np.bitwise_count(train_hashes ^ value)  # (T,)
        pairs += [(row, int(other)) for other in np.flatnonzero(distance <= NEAR_BITS)]
    return pairs
