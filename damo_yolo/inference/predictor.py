"""From an image, however it is held, to named objects. Serves the registry and `predict`."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from damo_yolo.boxes import clip
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.backends import open_backend
from damo_yolo.inference.detect import DetectConfig, detect_image
from damo_yolo.inference.images import ImageSource, read_image
from damo_yolo.samples import Detections

SHOWN_SCORE = 0.25
"""Below it detections are of use to an evaluation, not to a person."""


@dataclass(frozen=True, slots=True)
class NamedDetection:
    """One object, in words."""

    name: str
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the image, inside it."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class Predictor:
    """A detector that takes images and gives names."""

    def __init__(
        self,
        backend: Backend,
        *,
        score_threshold: float = SHOWN_SCORE,
        iou_threshold: float | None = None,
        max_detections: int = 100,
    ) -> None:
        """Keep the backend.

        Args:
            backend: from `open_backend`.
            score_threshold: objects of lower score are left out.
            iou_threshold: overlap of two boxes of one object; None: the published one.
            max_detections: kept per image, best first.
        """
        self.backend = backend
        self.config = DetectConfig(
            score_threshold=score_threshold,
            iou_threshold=backend.info.iou_threshold if iou_threshold is None else iou_threshold,
            max_detections=max_detections,
        )

    @classmethod
    def open(cls, uri: str, *, threads: int | None = None, **settings: Any) -> Self:
        """Open an artifact or a model folder; `settings` are those of the constructor."""
        return cls(open_backend(uri, threads=threads), **settings)

    def __call__(self, image: ImageSource) -> list[NamedDetection]:
        """Return the objects of one image, best first.

        Args:
            image: a location, the bytes of an image file, or (H, W, 3) RGB pixels.

        Raises:
            DataError: it is no image.
        """
        return next(iter(self.predict([image])))

    def predict(self, images: Iterable[ImageSource]) -> Iterable[list[NamedDetection]]:
        """Yield the objects of each image, one image in memory at a time."""
        for source in images:
            pixels = read_image(source)
            height, width = pixels.shape[:2]
            found = detect_image(self.backend, pixels, self.config)
            yield self._named(found, width=width, height=height)

    def _named(self, found: Detections, *, width: int, height: int) -> list[NamedDetection]:
        names = self.backend.class_names
        boxes = clip(found.boxes, width=width, height=height)
        return [
            NamedDetection(names[label], label, score, (box[0], box[1], box[2], box[3]))
            for box, score, label in zip(
                boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True
            )
        ]
