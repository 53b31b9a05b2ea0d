"""Scores and boxes to detections: threshold, class-aware suppression, the best so many.

Shapes: B images, A anchor points, C classes, K candidates (pairs of a point and a class above the
threshold), N detections, E pairs of candidates.

Suppression is greedy in score order, exactly: a candidate falls if it overlaps a kept one of its
class too much. It runs without a loop over classes or candidates. Only candidates of one class can
meet, so their pairs are listed and measured at once; what greedy order would decide follows from
the listed pairs by iteration. Candidates come in chunks, best first, until enough are kept; of
hundreds of thousands only the best few chunks are sorted at first.
"""

import torch
from torch import Tensor

from damo_yolo import boxes as geometry

CHUNK = 1024
"""Candidates judged at once; the kept ones before them are judged along."""
FEW_CHUNKS = 4
"""So many chunks are nearly always enough to fill an image's detections."""


def postprocess(
    scores: Tensor,
    boxes: Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int = 500,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the detections of each image, best first.

    Args:
        scores: (B, A, C) scores after the sigmoid.
        boxes: (B, A, 4) xyxy.
        score_threshold: pairs of a point and a class count when their score is above it.
        iou_threshold: of two boxes of a class that overlap more than this, the lower scored falls.
        max_detections: the most an image keeps.

    Returns:
        For each image (N, 4) float32 boxes, (N,) float32 scores descending, (N,) int64 labels.
    """
    return [
        _detect(
            image_scores,
            image_boxes,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
        )
        for image_scores, image_boxes in zip(scores.detach(), boxes.detach(), strict=True)
    ]


def suppress(
    boxes: Tensor, scores: Tensor, labels: Tensor, *, iou_threshold: float, max_kept: int
) -> Tensor:
    """Return the indices that class-aware suppression keeps, best first.

    Args:
        boxes: (K, 4) xyxy.
        scores: (K,), in any order; of equal scores the earlier goes first.
        labels: (K,) classes.
        iou_threshold: overlaps above it suppress.
        max_kept: stop when so many are kept.

    Returns:
        (N,) indices into the candidates, N at most `max_kept`.
    """
    everyone = torch.arange(len(scores), device=scores.device)
    best = everyone
    if len(scores) > FEW_CHUNKS * CHUNK:  # sorting them all would cost most of the time
        floor = scores.topk(FEW_CHUNKS * CHUNK).values[-1]
        best = everyone[scores >= floor]  # equal scores included: a beginning of the full order
    kept = _walk(best, boxes, scores, labels, iou_threshold=iou_threshold, max_kept=max_kept)
    if len(kept) < max_kept and len(best) < len(scores):
        kept = _walk(
            everyone, boxes, scores, labels, iou_threshold=iou_threshold, max_kept=max_kept
        )
    return kept


def _walk(
    candidates: Tensor,
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou_threshold: float,
    max_kept: int,
) -> Tensor:
    """Return the kept among candidates (indices, ascending), judged chunk after chunk."""
    order = candidates[scores[candidates].argsort(descending=True, stable=True)]
    kept = order[:0]
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        judged = torch.cat((kept, chunk))  # still in score order; kept ones suppress, and stay
        survives = _greedy(boxes[judged], labels[judged], iou_threshold=iou_threshold)
        kept = judged[survives]
        if len(kept) >= max_kept:
            break
    return kept[:max_kept]


def _detect(
    scores: Tensor,
    boxes: Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> tuple[Tensor, Tensor, Tensor]:
    # Most points have no class above the threshold: one pass over the scores finds those that do.
    hits = (scores.amax(dim=1) > score_threshold).nonzero().squeeze(1)
    hit_scores = scores[hits].float()
    rows, labels = (hit_scores > score_threshold).nonzero(as_tuple=True)  # (K,), (K,)
    candidate_scores = hit_scores[rows, labels]
    candidate_boxes = boxes[hits[rows]].float()
    kept = suppress(
        candidate_boxes,
        candidate_scores,
        labels,
        iou_threshold=iou_threshold,
        max_kept=max_detections,
    )
    return candidate_boxes[kept], candidate_scores[kept], labels[kept]


def _greedy(boxes: Tensor, labels: Tensor, *, iou_threshold: float) -> Tensor:
    """Return (K,) True for survivors among candidates in score order."""
    better, worse = _overlapping_pairs(boxes, labels, iou_threshold=iou_threshold)
    survives = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    # A candidate is decided once all better ones that overlap it are, so each round settles one
    # more link of every chain; greedy suppression is the only fixed point.
    while True:
        beaten = torch.zeros_like(survives)
        beaten[worse[survives[better]]] = True
        if torch.equal(beaten, ~survives):
            return survives
        survives = ~beaten


def _overlapping_pairs(
    boxes: Tensor, labels: Tensor, *, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    """Return (E,) and (E,) indices of pairs of one class that overlap too much, earlier first."""
    by_class = labels.argsort(stable=True)
    counts = labels.bincount()
    if len(labels) < 2 * int(counts.amax()):
        # One class holds most candidates: the whole table costs less than a list of its pairs.
        overlaps = geometry.pairwise_iou(boxes, boxes) > iou_threshold
        table = (overlaps & (labels[:, None] == labels)).triu(1)
        first, second = table.nonzero(as_tuple=True)
        return first, second
    first, second = _pairs_within(counts)
    first, second = by_class[first], by_class[second]
    overlaps = geometry.paired_iou(boxes[first], boxes[second]) > iou_threshold
    return first[overlaps], second[overlaps]


def _pairs_within(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return (E,) and (E,) positions of all pairs inside runs of so many, the earlier first."""
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)  # (K,) where its run begins
    positions = torch.arange(len(starts), device=counts.device)
    num_before = positions - starts  # (K,) in its run; as many pairs end in it
    second = positions.repeat_interleave(num_before)  # (E,)
    pair_starts = (num_before.cumsum(0) - num_before).repeat_interleave(num_before)
    first = torch.arange(len(second), device=counts.device) - pair_starts + starts[second]
    return first, second
