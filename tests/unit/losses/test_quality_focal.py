"""Quality focal loss from logits: golden numbers, the literal formula, saturation, masks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from damo_yolo.losses import quality_focal
from damo_yolo.losses.quality_focal import Foreground, background_loss, quality_focal_loss

NO_ONE = torch.zeros(0, dtype=torch.long)
ONE = torch.tensor(1.0)


def _literal(
    logits: Tensor, foreground: Foreground, class_mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Sum and gradient of the formula in float64, on dense targets."""
    x = logits.detach().double().requires_grad_()
    at = (foreground.images, foreground.anchors, foreground.labels)
    target = torch.zeros_like(x).index_put(at, foreground.quality.double())
    entropy = functional.binary_cross_entropy_with_logits(x, target, reduction="none")
    loss = entropy * (target - x.sigmoid()) ** 2
    if class_mask is not None:
        counts = class_mask.unsqueeze(1).double().expand_as(x).contiguous()
        loss = loss * counts.index_put(at, torch.ones_like(foreground.quality).double())
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return loss.sum().detach(), gradient


def _batch(scale: float, num_classes: int = 7) -> tuple[Tensor, Foreground]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 40, num_classes, generator=generator) * scale
    images = torch.tensor([0, 0, 1, 1, 1])
    anchors = torch.tensor([3, 8, 0, 8, 39])
    labels = torch.randint(num_classes, (5,), generator=generator)
    quality = torch.rand(5, generator=generator)
    return logits.requires_grad_(), Foreground(images, anchors, labels, quality)


def _foreground(labels: Tensor, quality: Tensor, num_classes: int) -> Foreground:
    anchors = (labels < num_classes).nonzero().squeeze(1)
    images = torch.zeros_like(anchors)
    return Foreground(images, anchors, labels[anchors], quality[anchors])


def test_golden_values_come_out_of_logits(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "losses.npz")
    score = torch.from_numpy(golden["qfl.pred"])
    foreground = _foreground(
        torch.from_numpy(golden["qfl.label"]), torch.from_numpy(golden["qfl.score"]), 8
    )
    logits = torch.logit(score.double()).float().unsqueeze(0)  # infinite where the score is 0 or 1
    assert logits.isinf().any()

    loss = quality_focal_loss(logits, foreground, torch.tensor(float(golden["qfl.avg_factor"])))

    assert loss.item() == pytest.approx(golden["qfl.loss_avg"].item(), rel=1e-5)


def test_golden_gradients_come_out_of_logits(golden_dir: Path) -> None:
    golden = np.load(golden_dir / "losses.npz")
    score = torch.from_numpy(golden["qfl.pred"])
    foreground = _foreground(
        torch.from_numpy(golden["qfl.label"]), torch.from_numpy(golden["qfl.score"]), 8
    )
    logits = torch.logit(score.double()).float().unsqueeze(0).requires_grad_()

    loss = quality_focal_loss(logits, foreground, torch.tensor(float(golden["qfl.avg_factor"])))
    torch.autograd.backward(loss)

    # The golden gradient is by the probability; the chain rule brings it to the logit.
    expected = torch.from_numpy(golden["qfl.grad_avg"]) * score * (1 - score)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[0], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("scale", [1.0, 6.0, 30.0])
def test_loss_and_gradient_equal_the_dense_formula(scale: float, *, masked: bool) -> None:
    logits, foreground = _batch(scale)
    mask = torch.tensor([[True, False] * 3 + [True], [False] * 7]) if masked else None

    loss = quality_focal_loss(logits, foreground, torch.tensor(3.0), class_mask=mask)
    torch.autograd.backward(loss)

    expected, gradient = _literal(logits, foreground, mask)
    torch.testing.assert_close(loss.double(), expected / 3, rtol=1e-5, atol=0)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.double(), gradient / 3, rtol=1e-4, atol=1e-6)


def test_unknown_classes_get_no_gradient_except_an_objects_own() -> None:
    logits, foreground = _batch(2.0)
    nothing_known = torch.zeros(2, 7, dtype=torch.bool)

    loss = quality_focal_loss(logits, foreground, ONE, class_mask=nothing_known)
    torch.autograd.backward(loss)

    assert logits.grad is not None
    touched = logits.grad.nonzero().tolist()
    own = zip(foreground.images, foreground.anchors, foreground.labels, strict=True)
    assert sorted(touched) == sorted([int(i), int(a), int(c)] for i, a, c in own)


@pytest.mark.parametrize("numbers", [1, 50, 281, 10_000])
def test_the_size_of_a_piece_changes_nothing(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    logits, _ = _batch(3.0)
    mask = torch.tensor([[True, False] * 3 + [True], [False] * 7])
    whole = background_loss(logits, mask)
    monkeypatch.setattr(quality_focal, "chunk_numbers", lambda _device: numbers)

    pieces = background_loss(logits, mask)

    assert whole.slope is not None
    assert pieces.slope is not None
    torch.testing.assert_close(pieces.cost, whole.cost)
    torch.testing.assert_close(pieces.slope, whole.slope)


def test_a_saturated_logit_keeps_a_gradient_and_costs_what_it_says() -> None:
    logits = torch.tensor([[[30.0, -30.0]]], requires_grad=True)
    background = Foreground(NO_ONE, NO_ONE, NO_ONE, torch.zeros(0))

    loss = quality_focal_loss(logits, background, ONE)
    torch.autograd.backward(loss)

    assert loss.item() == pytest.approx(30.0)  # log(1 - p) of the published code would be -100
    assert logits.grad is not None
    assert logits.grad[0, 0].tolist() == pytest.approx([1.0, 0.0])


def test_bfloat16_logits_stay_finite_and_close() -> None:
    exact, foreground = _batch(40.0)
    exact = exact.detach().bfloat16().float().requires_grad_()  # the same numbers
    low = exact.detach().bfloat16().requires_grad_()

    loss, expected = (quality_focal_loss(x, foreground, torch.tensor(5.0)) for x in (low, exact))
    torch.autograd.backward(loss)
    torch.autograd.backward(expected)

    assert low.grad is not None
    assert exact.grad is not None
    assert low.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(low.grad.float(), exact.grad, rtol=1e-2, atol=1e-6)


def test_a_kept_graph_gives_the_same_gradient_twice() -> None:
    logits, foreground = _batch(2.0)
    loss = quality_focal_loss(logits, foreground, torch.tensor(2.0))

    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    first = first.clone()
    (second,) = torch.autograd.grad(loss * 3, logits)

    torch.testing.assert_close(second, first * 3)
