"""Quality focal loss: the score of an object's class should equal the IoU of its box.

Shapes: B images, A anchor points, C classes, N foreground anchor points.

With x a logit, p its sigmoid, q the IoU of a foreground anchor point, beta = 2 (facts, section 6):

    own class of a foreground anchor point   f(x, q) = -(q log p + (1 - q) log(1 - p)) (q - p)^2
    every other class that is known          f0(x)   = -log(1 - p) p^2

Nearly all of B A C numbers take f0, so one pass over the logits, in pieces that fit a cache, makes
its sum over classes and its derivative; the foreground is corrected afterwards, N numbers in all.
The assignment needs the same sum (S in assignment/class_cost.py), so it is made beforehand.

The published code takes logarithms of probabilities, clamped at -100. The same numbers come out of
the logits except where float32 rounds p to 1 (x above 17): there the published loss jumps to 100
and its gradient to 0, while this one goes on with x, up to 100, and keeps its gradient.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from damo_yolo.assignment.class_cost import LOG_FLOOR, chunk_numbers, logs_of_logits


class Background(NamedTuple):
    """The loss of every anchor point if it were background."""

    cost: Tensor
    """(B, A) float32 sum of f0 over the known classes."""
    slope: Tensor | None
    """(B, A, C) derivative of `cost` by the logits, in their type; the loss overwrites it."""


class Foreground(NamedTuple):
    """The anchor points that have an object."""

    images: Tensor
    """(N,) image of each."""
    anchors: Tensor
    """(N,) anchor point within the image."""
    labels: Tensor
    """(N,) class of the object."""
    quality: Tensor
    """(N,) float32 IoU of the predicted box with the object; a constant to the gradient."""


@torch.no_grad()
def background_loss(
    logits: Tensor, class_mask: Tensor | None = None, *, with_slope: bool = True
) -> Background:
    """Return loss and slope of all anchor points as if none had an object.

    Args:
        logits: (B, A, C) logits of any floating type; the arithmetic is float32.
        class_mask: (B, C) bool, True where absence of the class is evidence; None: everywhere.
        with_slope: whether a gradient will be wanted.
    """
    num_images, num_points, num_classes = logits.shape
    cost = torch.empty(num_images, num_points, device=logits.device)
    slope = torch.empty_like(logits) if with_slope else None
    numbers = chunk_numbers(logits.device)
    images_at_once = max(1, numbers // (num_points * num_classes))
    points_at_once = num_points if images_at_once > 1 else max(1, numbers // num_classes)
    for image in range(0, num_images, images_at_once):
        images = slice(image, image + images_at_once)
        known = None if class_mask is None else class_mask[images].unsqueeze(1).float()
        for point in range(0, num_points, points_at_once):
            piece = (images, slice(point, point + points_at_once))
            out = None if slope is None else slope[piece]
            _background_piece(logits[piece].float(), known, cost[piece], out)
    return Background(cost, slope)


def _background_piece(
    logits: Tensor, known: Tensor | None, cost: Tensor, slope: Tensor | None
) -> None:
    """Fill `cost` with f0 = p^2 s summed over classes, `slope` with 2 p^2 (1 - p) s + p^3."""
    score = logits.sigmoid()
    rest = functional.softplus(logits).clamp_(max=-LOG_FLOOR)  # s = -log(1 - p)
    square = score * score
    if known is not None:
        square.mul_(known)
    loss = square * rest
    torch.sum(loss, dim=-1, out=cost)
    if slope is not None:
        square.sub_(loss, alpha=2).mul_(score).add_(loss, alpha=2)
        torch.mul(square, rest.lt_(-LOG_FLOOR), out=slope)  # flat where s is clamped


def quality_focal_loss(
    logits: Tensor,
    foreground: Foreground,
    normaliser: Tensor,
    *,
    class_mask: Tensor | None = None,
    background: Background | None = None,
) -> Tensor:
    """Return the loss summed over anchor points and classes, divided by `normaliser`.

    Args:
        logits: (B, A, C) logits.
        foreground: the anchor points that have an object.
        normaliser: (), usually the mean number of foreground anchor points a process has.
        class_mask: (B, C) bool as in `background_loss`. An object's own class counts regardless.
        background: what `background_loss` returned for these logits and mask, if it is at hand.

    Returns:
        () float32 loss. Its gradient has the type of the logits.
    """
    if background is None:
        wanted = torch.is_grad_enabled() and logits.requires_grad
        background = background_loss(logits.detach(), class_mask, with_slope=wanted)
    apply = _QualityFocal.apply
    loss: Tensor = apply(logits, background, foreground, class_mask, normaliser)  # type: ignore[no-untyped-call]  # torch has no types here
    return loss


class _QualityFocal(torch.autograd.Function):
    """The loss and its gradient, which the forward pass has nearly made already."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        background: Background,
        foreground: Foreground,
        class_mask: Tensor | None,
        normaliser: Tensor,
    ) -> Tensor:
        own = logits[foreground.images, foreground.anchors, foreground.labels].float()
        score, log_score, log_rest = logs_of_logits(own)
        entropy = -(foreground.quality * log_score + (1 - foreground.quality) * log_rest)
        other = -log_rest * score**2
        if class_mask is not None:
            other = other * class_mask[foreground.images, foreground.labels]
        change = entropy * (foreground.quality - score) ** 2 - other
        ctx.slope = background.slope
        ctx.foreground = foreground
        ctx.save_for_backward(logits, class_mask, normaliser)
        return (background.cost.sum() + change.sum()) / normaliser

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, class_mask, normaliser = ctx.saved_tensors
        slope, ctx.slope = ctx.slope, None
        if slope is None:  # a second backward pass over a kept graph
            slope = background_loss(logits, class_mask).slope
        assert slope is not None
        images, anchors, labels, quality = ctx.foreground
        own = _own_slope(logits[images, anchors, labels].float(), quality)
        slope[images, anchors, labels] = own.to(slope.dtype)
        return slope.mul_(gradient / normaliser), None, None, None, None


def _own_slope(logits: Tensor, quality: Tensor) -> Tensor:
    """Return (N,) derivative of f by the logit; a clamped logarithm is flat."""
    score, log_score, log_rest = logs_of_logits(logits)
    entropy = -(quality * log_score + (1 - quality) * log_rest)
    rising = (1 - quality) * score * (log_rest > LOG_FLOOR)
    falling = quality * (1 - score) * (log_score > LOG_FLOOR)
    gap = score - quality
    return (rising - falling) * gap**2 + entropy * 2 * gap * score * (1 - score)
