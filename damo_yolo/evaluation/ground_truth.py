"""What the annotations say of the validation images, read back from the shards."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ImageTruth:
    """The annotated objects of one validation image.

    Shapes: N objects, C classes.
    """

    key: str
    dataset: str
    boxes: NDArray[np.float32]
    """(N, 4) xyxy pixels of the image as stored."""
    class_ids: NDArray[np.int64]
    """(N,) unified class ids."""
    is_crowd: NDArray[np.bool_]
    """(N,) True for regions that hold several objects: neither right nor wrong to detect."""
    known: NDArray[np.bool_]
    """(C,) True where absence of the class is evidence."""

    def counted_classes(self) -> NDArray[np.bool_]:
        """Return (C,) True where a detection of the class counts: known, or present."""
        counted = self.known.copy()
        counted[self.class_ids] = True
        return counted

    def present_but_incomplete(self) -> list[int]:
        """Return classes that have objects here, though perhaps not all of them are annotated."""
        present = np.unique(self.class_ids)
        return [int(class_id) for class_id in present if not self.known[class_id]]
