"""Sets of pairs of an image and a class, as columns.

Shapes: P pairs, E edges.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

CLASS_BITS = 20
"""A pair is packed into one integer: the image above the class."""
CLASS_MASK = (1 << CLASS_BITS) - 1

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class ClassPairs:
    """Pairs of an image and a class, in any order; a pair that comes twice counts once."""

    images: Ints
    """(P,) row of the image in its chunk."""
    classes: Ints
    """(P,) code or id of the class."""

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def none(cls) -> Self:
        """Return no pairs."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def from_packed(cls, packed: Ints) -> Self:
        """Return the pairs of (P,) integers."""
        return cls(packed >> CLASS_BITS, packed & CLASS_MASK)

    def packed(self) -> Ints:
        """Return each pair once as an integer, ordered by image and class."""
        packed = np.sort(self.images << CLASS_BITS | self.classes)  # faster here than np.unique
        once: Ints = packed[np.diff(packed, prepend=-1) != 0]
        return once

    def joined(self, *others: "ClassPairs") -> "ClassPairs":
        """Return these pairs and the others."""
        parts = (self, *others)
        return ClassPairs(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )

    def without(self, other: "ClassPairs") -> "ClassPairs":
        """Return the pairs that are not among the others."""
        left = np.setdiff1d(self.packed(), other.packed(), assume_unique=True)
        return ClassPairs.from_packed(left)

    def followed(self, edges: "ClassEdges") -> "ClassPairs":
        """Return each image with every class that an edge leads to from one of its classes."""
        counts = edges.starts[self.classes + 1] - edges.starts[self.classes]
        firsts = np.cumsum(counts) - counts
        steps = np.arange(counts.sum()) - np.repeat(firsts, counts)
        places = np.repeat(edges.starts[self.classes], counts) + steps
        return ClassPairs(np.repeat(self.images, counts), edges.targets[places])


@dataclass(frozen=True, eq=False, slots=True)
class ClassEdges:
    """Which classes each class leads to."""

    starts: Ints
    """(classes + 1,) where the targets of each class begin, and the end."""
    targets: Ints
    """(E,) classes."""

    @classmethod
    def of(cls, targets: list[list[int]]) -> Self:
        """Return the edges from the list of targets of each class."""
        counts = [len(found) for found in targets]
        flat = [target for found in targets for target in found]
        return cls(np.cumsum([0, *counts], dtype=np.int64), np.array(flat, np.int64))
