"""Suppression in the plain way, and candidates to judge: what tests and benchmarks compare with.

Shapes: K candidates, N kept ones.
"""

import torch
from torch import Tensor

from damo_yolo.boxes import pairwise_iou


def suppress_by_class(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return (N,) kept indices, best first: class after class, box after box."""
    kept = []
    for label in sorted(set(labels.tolist())):
        rest = (labels == label).nonzero().squeeze(1)
        rest = rest[scores[rest].argsort(descending=True, stable=True)]
        while len(rest):
            best, rest = rest[0], rest[1:]
            kept.append(best)
            rest = rest[pairwise_iou(boxes[best][None], boxes[rest])[0] <= threshold]
    found = torch.stack(kept)
    return found[scores[found].argsort(descending=True, stable=True)]


def crowd(num_candidates: int, num_classes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (K, 4) boxes around 60 objects, (K,) scores and (K,) labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = (torch.rand(60, 2, generator=generator) * 600)[
        torch.randint(60, (num_candidates,), generator=generator)
    ]
    centres = centres + torch.randn(num_candidates, 2, generator=generator) * 12
    half = 20 + torch.rand(num_candidates, 2, generator=generator) * 30
    boxes = torch.cat((centres - half, centres + half), dim=1)
    scores = torch.rand(num_candidates, generator=generator)
    return boxes, scores, torch.randint(num_classes, (num_candidates,), generator=generator)
