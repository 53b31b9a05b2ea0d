"""The whole detection loss: its parts, empty batches, masks, low precision, many processes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from damo_yolo.assignment.align_ota import Objects, align_ota
from damo_yolo.errors import ConfigError
from damo_yolo.losses.detection import DetectionLoss, LossConfig, LossParts
from damo_yolo.models.detector import DetectorOutput
from tests.builders import make_objects, make_output
from tests.published_loss import charge

NUM_CLASSES = 6


def _batch(counts: list[int], seed: int = 0) -> tuple[DetectorOutput, Objects]:
    generator = torch.Generator().manual_seed(seed)
    objects = make_objects(counts, NUM_CLASSES, generator=generator)
    return make_output(objects, NUM_CLASSES, generator=generator), objects


def _gradients(parts: LossParts, output: DetectorOutput) -> tuple[Tensor, ...]:
    return torch.autograd.grad(parts.total, output[:3])


def test_parts_are_those_of_the_formulas_and_sum_to_the_total() -> None:
    output, objects = _batch([4, 0, 9])
    scores = output.class_logits.detach().sigmoid()
    assigned = align_ota(scores, output.boxes.detach(), output.points, output.strides, *objects)

    parts = DetectionLoss()(output, *objects)
    published = charge(output, objects, *assigned)  # objects of this batch tie: assigned alike

    assert [value.item() for value in parts] == pytest.approx(
        [value.item() for value in published], rel=1e-4
    )
    gradients = zip(_gradients(parts, output), _gradients(published, output), strict=True)
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_weights_scale_their_parts() -> None:
    output, objects = _batch([5])
    plain = DetectionLoss(LossConfig(qfl=1, giou=1, dfl=1))(output, *objects)

    parts = DetectionLoss(LossConfig(qfl=3, giou=0, dfl=0.5))(output, *objects)

    assert parts.qfl.item() == pytest.approx(3 * plain.qfl.item())
    assert parts.giou.item() == 0
    assert parts.dfl.item() == pytest.approx(plain.dfl.item() / 2)
    with pytest.raises(ConfigError, match="giou"):
        LossConfig.from_mapping({"giou": -1})


def test_without_any_object_boxes_have_a_gradient_and_it_is_zero() -> None:
    output, objects = _batch([0, 0])

    parts = DetectionLoss()(output, *objects)
    logits, sides, boxes = _gradients(parts, output)

    assert parts.num_foreground.item() == 0
    assert parts.giou.item() == parts.dfl.item() == 0
    assert logits.abs().sum() > 0
    assert boxes.count_nonzero() == sides.count_nonzero() == 0


def test_the_mask_removes_exactly_the_unknown_classes_from_the_gradient() -> None:
    output, objects = _batch([3, 0])
    mask = torch.ones(2, NUM_CLASSES, dtype=torch.bool)
    mask[1, :4] = False

    logits, _, _ = _gradients(DetectionLoss()(output, *objects, mask), output)
    everywhere, _, _ = _gradients(DetectionLoss()(output, *objects), output)

    assert logits[1, :, :4].count_nonzero() == 0
    assert torch.equal(logits[1, :, 4:], everywhere[1, :, 4:])


def test_no_gradient_is_prepared_where_none_is_wanted() -> None:
    output, objects = _batch([3])
    expected = DetectionLoss()(output, *objects)

    with torch.no_grad():
        parts = DetectionLoss()(output, *objects)

    assert not parts.total.requires_grad
    assert parts.total.item() == pytest.approx(expected.total.item())


def test_saturated_bfloat16_outputs_under_autocast_stay_finite_and_close() -> None:
    output, objects = _batch([6, 2])
    low = [output.class_logits.detach() * 30, output.side_logits.detach() * 30]
    low = [value.bfloat16().requires_grad_() for value in low]
    exact = [value.detach().float().requires_grad_() for value in low]  # the same numbers

    def run(logits: Tensor, sides: Tensor) -> tuple[LossParts, tuple[Tensor, ...]]:
        given = output._replace(class_logits=logits, side_logits=sides)
        parts = DetectionLoss()(given, *objects)
        return parts, _gradients(parts, given)

    expected, expected_gradients = run(*exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts, gradients = run(*low)

    for value, wanted in zip(parts, expected, strict=True):
        assert value.isfinite()
        torch.testing.assert_close(value, wanted, rtol=1e-2, atol=0)
    for value, wanted in zip(gradients, expected_gradients, strict=True):
        assert value.isfinite().all()
        torch.testing.assert_close(value.float(), wanted, rtol=1e-2, atol=1e-6)


def _join(first: DetectorOutput, second: DetectorOutput) -> DetectorOutput:
    """Return the output of both batches as one."""
    return first._replace(
        class_logits=torch.cat((first.class_logits, second.class_logits)),
        side_logits=torch.cat((first.side_logits, second.side_logits)),
        boxes=torch.cat((first.boxes, second.boxes)),
    )


def test_two_processes_one_of_them_empty_agree_with_one_and_reduce_once_each(
    tmp_path: Path,
) -> None:
    batches = [_batch([8, 3]), _batch([0, 0], seed=1)]
    workers = []
    for rank, (output, found) in enumerate(batches):
        values = {"leaves": output[:3], "grid": output[3:5], "objects": tuple(found)}
        torch.save(values, tmp_path / f"rank{rank}.pt")
        command = [sys.executable, str(Path(__file__).with_name("one_rank.py"))]
        workers.append(subprocess.Popen([*command, str(rank), str(tmp_path)]))
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]

    first, second = (torch.load(tmp_path / f"result{rank}.pt") for rank in range(2))
    merged = _join(batches[0][0], batches[1][0])
    padded = Objects(*(torch.cat((value, torch.zeros_like(value))) for value in batches[0][1]))
    parts = DetectionLoss()(merged, *padded)

    assert first["calls"] == second["calls"] == ["all_reduce"]
    mean = (first["total"] + second["total"]) / 2
    torch.testing.assert_close(mean, parts.total.detach(), rtol=1e-5, atol=0)
    ranks = zip(_gradients(parts, merged), first["gradients"], second["gradients"], strict=True)
    for together, of_first, of_second in ranks:
        # Data-parallel training averages over ranks; each rank holds half of the images.
        torch.testing.assert_close(torch.cat((of_first, of_second)) / 2, together)
