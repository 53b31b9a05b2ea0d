"""Pictures whose objects can be told by their colour."""

import numpy as np

from damo_yolo.samples import Sample

NUM_CLASSES = 12
COLORS = np.array(
    [[40 + 70 * (i % 4), 60 + 80 * (i // 4 % 3), 255 - 20 * i] for i in range(NUM_CLASSES)],
    np.uint8,
)
"""Of the objects of each class; the background is black."""


def painted(
    num_objects: int,
    *,
    side: int = 128,
    seed: int = 0,
    key: str | None = None,
    known: tuple[int, ...] = tuple(range(NUM_CLASSES)),
) -> Sample:
    """Return a black square with rectangles in a 3 x 3 grid, each in the colour of its label."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3), np.uint8)
    labels = rng.choice(NUM_CLASSES, num_objects, replace=False)
    cell = side // 3
    boxes = []
    for place, label in zip(rng.choice(9, num_objects, replace=False), labels, strict=True):
        left, top = place % 3 * cell, place // 3 * cell
        x1, y1 = left + rng.integers(1, 4), top + rng.integers(1, 4)
        x2, y2 = left + cell - rng.integers(1, 8), top + cell - rng.integers(1, 8)
        image[y1:y2, x1:x2] = COLORS[label]
        boxes.append([x1, y1, x2, y2])
    mask = np.zeros(NUM_CLASSES, np.bool_)
    mask[list(known)] = True
    return Sample(
        key=key or f"painted/{seed}",
        dataset="painted",
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=labels.astype(np.int64),
        known=mask,
        original_size=(side, side),
    )


def centres_show_labels(sample: Sample) -> int:
    """Assert that every object inside the picture has its label's colour; return how many."""
    height, width = sample.image.shape[:2]
    num_seen = 0
    for box, label in zip(sample.boxes, sample.labels, strict=True):
        x1, y1, x2, y2 = box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        if x1 > 0 and y1 > 0 and x2 < width and y2 < height and min(x2 - x1, y2 - y1) > 4:
            pixel = sample.image[int((y1 + y2) / 2), int((x1 + x2) / 2)].astype(int)
            assert np.abs(pixel - COLORS[label]).max() <= 2
            num_seen += 1
    return num_seen
