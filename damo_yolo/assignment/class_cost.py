"""The classification cost of AlignOTA in closed form.

Shapes: B images, A anchor points, V candidate anchor points, G objects, C classes.

The published cost of anchor point a and object g sums a term over all C classes, but only the
class of g depends on g. With p the score and q the IoU of a and g:

    f0(p)   = -log(1 - p) p^2                                     any other class
    f(p, q) = -(q log p + (1 - q) log(1 - p)) (q - p)^2           the object's own class
    cost    = S(a) - known f0(p_own) + f(p_own, q),   S(a) = sum of f0 over the known classes

which needs A C + A G numbers instead of A G C. Logarithms are clamped at -100 (facts, section 5).
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

LOG_FLOOR = -100.0
"""Least logarithm of a score that a cost or loss sees."""

_CPU_CHUNK = 1 << 16  # numbers that stay in a core's cache
_DEVICE_CHUNK = 1 << 24


class ClassLogs(NamedTuple):
    """A score p with the logarithms of p and 1 - p, each (B, G, V) and free to be overwritten."""

    score: Tensor
    log_score: Tensor
    log_rest: Tensor


def logs_of_scores(scores: Tensor) -> ClassLogs:
    """Return the clamped logarithms of float32 scores."""
    log_rest = torch.log1p(-scores).clamp_(min=LOG_FLOOR)
    return ClassLogs(scores, scores.log().clamp_(min=LOG_FLOOR), log_rest)


def logs_of_logits(logits: Tensor) -> ClassLogs:
    """Return score and clamped logarithms of float32 logits, exact where the score rounds to 1."""
    logits = logits.clamp(
        min=2 * LOG_FLOOR, max=-2 * LOG_FLOOR
    )  # so that no infinity meets another
    log_rest = functional.softplus(logits).neg_()
    log_score = (logits + log_rest).clamp_(min=LOG_FLOOR)
    return ClassLogs(logits.sigmoid_(), log_score, log_rest.clamp_(min=LOG_FLOOR))


class ClassCosts(Protocol):
    """Where the assignment takes its classification costs from."""

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        ...

    @property
    def class_mask(self) -> Tensor | None:
        """(B, C) bool, True where absence of the class is evidence."""
        ...

    def own(self, images: slice, labels: Tensor, anchors: Tensor) -> ClassLogs:
        """Return each object's own class at the candidates.

        Args:
            images: which images.
            labels: (B, G) class of each object.
            anchors: (B, V) candidate anchor points.
        """
        ...

    def background(self, images: slice, anchors: Tensor, filled: Tensor) -> Tensor:
        """Return (B, V) the sum S of f0 over known classes; anything where not `filled`."""
        ...


@dataclass(frozen=True, slots=True)
class ScoreCosts:
    """Costs from (B, A, C) scores; only rows of candidates are read."""

    scores: Tensor
    class_mask: Tensor | None

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.scores.shape[-1]

    def own(self, images: slice, labels: Tensor, anchors: Tensor) -> ClassLogs:
        """See `ClassCosts`."""
        return logs_of_scores(_own_class(self.scores[images], labels, anchors))

    def background(self, images: slice, anchors: Tensor, filled: Tensor) -> Tensor:
        """See `ClassCosts`."""
        scores = self.scores[images]
        num_points, num_classes = scores.shape[1:]
        known = None if self.class_mask is None else self.class_mask[images].float()
        image, slot = filled.nonzero(as_tuple=True)
        row = image * num_points + anchors[image, slot]
        table = scores.reshape(-1, num_classes)
        sums = torch.empty(row.shape, device=scores.device)
        step = max(1, chunk_numbers(scores.device) // num_classes)
        for start in range(0, len(row), step):
            piece = slice(start, start + step)
            score = table.index_select(0, row[piece]).float()  # (n, C)
            loss = score.neg().log1p_().clamp_(min=LOG_FLOOR).mul_(score).mul_(score)
            if known is not None:
                loss.mul_(known.index_select(0, image[piece]))
            torch.sum(loss, dim=-1, out=sums[piece])
        background = torch.zeros(filled.shape, device=scores.device)
        background[image, slot] = sums.neg_()
        return background


@dataclass(frozen=True, slots=True)
class LogitCosts:
    """Costs from (B, A, C) logits whose (B, A) background sums are already there."""

    logits: Tensor
    sums: Tensor
    class_mask: Tensor | None

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.logits.shape[-1]

    def own(self, images: slice, labels: Tensor, anchors: Tensor) -> ClassLogs:
        """See `ClassCosts`."""
        return logs_of_logits(_own_class(self.logits[images], labels, anchors))

    def background(self, images: slice, anchors: Tensor, filled: Tensor) -> Tensor:  # noqa: ARG002 -- the protocol's
        """See `ClassCosts`."""
        return self.sums[images].gather(1, anchors)


def chunk_numbers(device: torch.device) -> int:
    """Return how many numbers one operation should touch: cache on a CPU, launches elsewhere."""
    return _CPU_CHUNK if device.type == "cpu" else _DEVICE_CHUNK


def _own_class(values: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
    """Return (B, G, V) float32: `values` (B, A, C) at each object's class and each candidate."""
    image = torch.arange(len(labels), device=labels.device).unsqueeze(1)
    columns = values.transpose(1, 2)[image, labels]  # (B, G, A)
    slots = anchors.unsqueeze(1).expand(-1, labels.shape[1], -1)
    return columns.gather(2, slots).float()
