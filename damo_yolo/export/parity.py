"""Does an artifact say what the trained model says? Same images, differences counted.

Two detectors with nearly constant outputs agree whatever they compute, as untrained ones do. So a
record tells how much the reference's own scores vary, and says when that is too little to prove
anything.

Shapes: B images, A anchor points, C classes.
"""

import numpy as np
from numpy.typing import NDArray

from damo_yolo.config import Config
from damo_yolo.samples import Detections

Scores = NDArray[np.float32]
Boxes = NDArray[np.float32]

SHOWN_SCORE = 0.25
"""Objects at least this certain in the reference should be found again."""
SAME_IOU = 0.75
"""Two boxes of one class that overlap so much are one object."""
MIN_SPREAD = 1e-4
"""Standard deviation of the reference's best scores over anchor points; less proves nothing."""


class ParityRecord(Config):
    """How far an artifact is from the reference."""

    num_images: int
    max_score_diff: float | None
    """None, like the next three, where the graph keeps raw outputs to itself."""
    mean_score_diff: float | None
    max_box_diff_px: float | None
    """Pixels of the network input, over every anchor point, also those that detect nothing."""
    mean_box_diff_px: float | None
    num_objects: int
    """Objects that the reference is at least 0.25 certain of."""
    found_again: float
    """Share of them that the artifact finds as well: same class, IoU of 0.75 or more."""
    score_spread: float
    """Standard deviation over anchor points of the reference's best score."""

    @property
    def proves_something(self) -> bool:
        """False where the reference's outputs are nearly constant."""
        return self.score_spread >= MIN_SPREAD


class ParityMeter:
    """Differences of one artifact, batch by batch."""

    def __init__(self) -> None:
        self._num_images = 0
        self._max_score = self._max_box = 0.0
        self._score_sum = self._box_sum = 0.0
        self._num_scores = self._num_boxes = 0
        self._best: list[Scores] = []
        self._num_objects = self._num_found = 0

    def update(self, reference: tuple[Scores, Boxes], candidate: tuple[Scores, Boxes]) -> None:
        """Count one batch.

        Args:
            reference: (B, A, C) scores and (B, A, 4) boxes of the trained model.
            candidate: those of the artifact on the same images.
        """
        scores = np.abs(reference[0] - candidate[0])
        boxes = np.abs(reference[1] - candidate[1])
        self.update_spread(reference[0])
        self._max_score = max(self._max_score, float(scores.max()))
        self._max_box = max(self._max_box, float(boxes.max()))
        self._score_sum += float(scores.sum(dtype=np.float64))
        self._box_sum += float(boxes.sum(dtype=np.float64))
        self._num_scores += scores.size
        self._num_boxes += boxes.size

    def update_spread(self, scores: Scores) -> None:
        """Count the images of a batch, and how much the reference's (B, A, C) scores vary."""
        self._num_images += len(scores)
        self._best.append(scores.max(axis=-1).ravel())

    def update_objects(self, reference: Detections, candidate: Detections) -> None:
        """Count the objects of one image that are found again."""
        certain = np.flatnonzero(reference.scores >= SHOWN_SCORE)
        self._num_objects += len(certain)
        for index in certain:
            same = candidate.labels == reference.labels[index]
            overlaps = _iou(reference.boxes[index], candidate.boxes[same])
            self._num_found += bool((overlaps >= SAME_IOU).any())

    def record(self) -> ParityRecord:
        """Return the differences over all images counted."""
        assert self._num_images, "no image was compared"
        raw = self._num_scores > 0
        return ParityRecord(
            num_images=self._num_images,
            max_score_diff=self._max_score if raw else None,
            mean_score_diff=self._score_sum / self._num_scores if raw else None,
            max_box_diff_px=self._max_box if raw else None,
            mean_box_diff_px=self._box_sum / self._num_boxes if raw else None,
            num_objects=self._num_objects,
            found_again=self._num_found / self._num_objects if self._num_objects else 1.0,
            score_spread=float(np.concatenate(self._best).std(dtype=np.float64)),
        )


def _iou(box: Boxes, others: Boxes) -> NDArray[np.float32]:
    import torch

    from damo_yolo.boxes import pairwise_iou

    overlaps = pairwise_iou(torch.from_numpy(box).unsqueeze(0), torch.from_numpy(others))
    return overlaps.squeeze(0).numpy()
