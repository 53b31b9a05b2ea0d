"""What is known of the published checkpoints: their classes, and the accuracy their authors report.

Facts only; the sizes themselves are in `zoo`.
"""

from typing import NamedTuple

# fmt: off
PUBLISHED_CLASSES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
"""Names of the 80 class rows, in order."""


class PublishedAp(NamedTuple):
    """COCO AP in percent, validation split, as the authors report it."""

    plain: float
    distilled: float | None = None


PUBLISHED_AP = {
    "damo-yolo-t": PublishedAp(plain=42.0, distilled=43.6),
    "damo-yolo-s": PublishedAp(plain=46.0, distilled=47.7),
    "damo-yolo-m": PublishedAp(plain=49.2, distilled=50.2),
    "damo-yolo-l": PublishedAp(plain=50.8, distilled=51.9),
    "damo-yolo-ns": PublishedAp(plain=32.3),
    "damo-yolo-nm": PublishedAp(plain=38.2),
    "damo-yolo-nl": PublishedAp(plain=40.5),
}
