"""Validation images that are in the training data too, byte for byte or to the eye."""

import io
import warnings
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from damo_yolo import storage
from damo_yolo.datasets.catalog import Split

NEAR_BITS = 4
"""Perceptual hashes of 64 bits that differ in no more than this many are taken for one picture."""
HASH_SIDE = 256
"""A JPEG is decoded at the smallest scale whose sides reach this, pixels."""

Named = tuple[str, str]
"""Image key and location."""


@dataclass
class LeakFinder:
    """Collects images of both splits; feed it all of val before any of train."""

    similar: bool = False
    """Find pictures that look alike, too: every image is decoded."""
    _val: dict[int, list[Named]] = field(default_factory=lambda: defaultdict(list))
    """Val images by file size, bytes."""
    _train: dict[int, list[Named]] = field(default_factory=lambda: defaultdict(list))
    """Those train images whose file size occurs in val: candidates for equality."""
    _hashes: dict[Split, dict[str, int]] = field(default_factory=lambda: {"val": {}, "train": {}})
    """Perceptual hash by key."""

    def add(self, split: Split, key: str, uri: str, *, num_bytes: int) -> None:
        """Take in a usable image of `num_bytes` file size."""
        if self.similar:
            self._hashes[split][key] = perceptual_hash(uri)
        if split == "val":
            self._val[num_bytes].append((key, uri))
        elif num_bytes in self._val:
            self._train[num_bytes].append((key, uri))

    def pairs(self) -> list[tuple[str, str]]:
        """Return the val key and train key of every leak, ordered."""
        return sorted({*self._identical(), *self._alike()})

    def _identical(self) -> list[tuple[str, str]]:
        pairs = []
        for num_bytes, candidates in self._train.items():
            train = defaultdict(list)
            for key, uri in candidates:
                train[storage.sha256(uri)].append(key)
            for key, uri in self._val[num_bytes]:
                pairs += [(key, other) for other in train.get(storage.sha256(uri), ())]
        return pairs

    def _alike(self) -> list[tuple[str, str]]:
        train_keys = list(self._hashes["train"])
        train_hashes = np.array(list(self._hashes["train"].values()), np.uint64)
        pairs = []
        for key, value in self._hashes["val"].items():
            distance = np.bitwise_count(train_hashes ^ np.uint64(value))
            rows = np.flatnonzero(distance <= NEAR_BITS).tolist()
            pairs += [(key, train_keys[row]) for row in rows]
        return pairs


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
