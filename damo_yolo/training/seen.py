"""What a run has seen: a fingerprint of the sample order, and the images that could not be used."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from damo_yolo.errors import TrainingError
from damo_yolo.training.ranks import gather_objects

logger = logging.getLogger(__name__)

MODULUS = 2**64
NAMED = 5
"""Broken images that an error or a line of the log lists."""


@dataclass
class SampleOrder:
    """Fingerprint of which images each step saw, over all ranks.

    A sum over (step, image): however many ranks share a step, and wherever a run was broken off,
    equal global batches in equal order give equal fingerprints.
    """

    total: int = 0
    """Of all ranks, up to the last merge."""
    own: int = 0
    """Of this rank, since."""

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read what `text` wrote."""
        return cls(int(text, 16))

    @property
    def text(self) -> str:
        """The merged fingerprint, in hex."""
        return f"{self.total:016x}"

    def add(self, step: int, keys: Sequence[str]) -> None:
        """Count this rank's images of a step."""
        for key in keys:
            digest = hashlib.blake2b(f"{step}/{key}".encode(), digest_size=8).digest()
            self.own = (self.own + int.from_bytes(digest)) % MODULUS

    def merge(self) -> None:
        """Add what all ranks counted since the last merge; a collective."""
        self.total = (self.total + sum(gather_objects(self.own))) % MODULUS
        self.own = 0


@dataclass
class Quarantine:
    """Images that cannot be decoded, over all ranks; a batch holds an empty one in their place."""

    keys: set[str] = field(default_factory=set)
    num_images: int = 0
    """Of the training set; 0 where it is not known."""

    def take(self, keys: Iterable[str]) -> None:
        """Note the broken images of a batch."""
        fresh = set(keys) - self.keys
        for key in sorted(fresh):
            logger.warning("image '%s' cannot be decoded, an empty one takes its place", key)
        self.keys |= fresh

    def merge(self, max_share: float) -> None:
        """Share the list with all ranks; a collective.

        Raises:
            TrainingError: on every rank, when there are too many.
        """
        self.keys = set().union(*gather_objects(self.keys))
        if len(self.keys) <= max_share * self.num_images or not self.keys:
            return
        names = ", ".join(sorted(self.keys)[:NAMED])
        raise TrainingError(
            f"{len(self.keys)} of {self.num_images} training images cannot be decoded, more than "
            f"the share of {max_share:g} that max_broken_share allows, first: {names}",
            fix="write the shards again from whole images, or raise max_broken_share",
        )
