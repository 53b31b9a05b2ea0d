"""AlignOTA against the golden assignments and against the formula written out word for word."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from damo_yolo.assignment.align_ota import Objects, align_ota
from damo_yolo.errors import DataError
from damo_yolo.models.detector import DetectorOutput
from tests.builders import make_objects, make_output, make_points
from tests.published_assignment import assign_image

CASES = ("normal", "nogt", "crowded", "tiny", "outside", "mixed", "degenerate", "all_invalid")


def _assign(
    output: DetectorOutput, objects: Objects, mask: Tensor | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    scores = output.class_logits.detach().sigmoid()
    boxes = output.boxes.detach()
    return align_ota(scores, boxes, output.points, output.strides, *objects, mask, **options)


@pytest.mark.parametrize("case", CASES)
def test_golden_assignments_come_out_even_where_costs_tie(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / "assigner.npz")
    priors = torch.from_numpy(golden["priors"])
    names = ("scores", "boxes", "gt_boxes", "gt_labels", "gt_inds", "max_overlaps")
    tensors = (torch.from_numpy(golden[f"{case}.{name}"]).unsqueeze(0) for name in names)
    scores, boxes, gt_boxes, gt_labels, gt_inds, overlaps = tensors
    valid = torch.ones(gt_labels.shape, dtype=torch.bool)

    points, strides = priors[:, :2], priors[:, 2:3]
    gt_index, iou = align_ota(scores, boxes, points, strides, gt_boxes, gt_labels, valid)

    assert torch.equal(gt_index, gt_inds - 1)
    torch.testing.assert_close(iou, overlaps.clamp(min=0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_batched_assignment_equals_the_literal_formula(seed: int, *, masked: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    objects = make_objects([5, 0, 17, 1], 9, generator=generator, num_padded=3)
    output = make_output(objects, 9, generator=generator)
    mask = torch.rand(4, 9, generator=generator) < 0.5 if masked else None

    gt_index, iou = _assign(output, objects, mask)

    compared = 0
    for image, valid in enumerate(objects.valid):
        columns = valid.nonzero().squeeze(1)
        expected = assign_image(
            output.class_logits[image].detach().sigmoid(),
            output.boxes[image].detach(),
            output.points,
            output.strides,
            objects.boxes[image, columns],
            objects.labels[image, columns],
            None if mask is None else mask[image],
        )
        if expected.is_tied():
            continue
        matched = expected.gt_index >= 0
        assert torch.equal(gt_index[image] >= 0, matched)
        assert torch.equal(gt_index[image][matched], columns[expected.gt_index[matched]])
        torch.testing.assert_close(iou[image], expected.iou, rtol=0, atol=1e-6)
        compared += 1
    assert compared >= 2
    assert (gt_index[1] == -1).all()


def test_a_batch_without_any_object_is_background() -> None:
    generator = torch.Generator().manual_seed(0)
    for padded in (0, 2):
        objects = make_objects([0, 0], 3, generator=generator, num_padded=padded)
        gt_index, iou = _assign(make_output(objects, 3, generator=generator), objects)
        assert (gt_index == -1).all()
        assert (iou == 0).all()


def test_memory_bound_and_neighbouring_images_change_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    objects = make_objects([30, 2, 0, 60, 11], 5, generator=generator)
    output = make_output(objects, 5, generator=generator)

    at_once = _assign(output, objects, memory_mib=1024)
    in_steps = _assign(output, objects, memory_mib=1)

    assert torch.equal(at_once[0], in_steps[0])
    assert torch.equal(at_once[1], in_steps[1])


def _two_predictions(labels: list[int]) -> tuple[DetectorOutput, Objects]:
    """One 64-pixel object, predicted perfectly by two anchor points only, one of which it takes."""
    points, strides = make_points(128, 128)
    objects = Objects(
        torch.tensor([[[32.0, 32.0, 96.0, 96.0]]]),
        torch.tensor([labels]),
        torch.tensor([[True]]),
    )
    boxes = torch.zeros(1, len(points), 4)
    first, second = _index_of(points, strides, 56), _index_of(points, strides, 64)
    boxes[0, first] = objects.boxes[0, 0]
    boxes[0, second] = objects.boxes[0, 0] * torch.tensor([1, 1, 1, 0.75])  # IoU 40/64: k is 1
    logits = torch.full((1, len(points), 3), -4.0)
    logits[0, [first, second], 0] = 4.0
    none = torch.zeros(0)
    return DetectorOutput(logits, none, boxes, points, strides, (none, none, none)), objects


def _index_of(points: Tensor, strides: Tensor, xy: int) -> int:
    at = (points == xy).all(dim=1) & (strides.squeeze(1) == 8)
    return int(at.nonzero()[0])


def test_a_point_that_fires_on_another_class_is_dearer_only_where_that_class_is_known() -> None:
    output, objects = _two_predictions(labels=[0])
    first = _index_of(output.points, output.strides, 56)
    second = _index_of(output.points, output.strides, 64)
    output.class_logits[0, first, 1] = 8.0  # costs 8, more than 3 * -log(0.625) = 1.4
    everything = torch.ones(1, 3, dtype=torch.bool)
    class_1_unknown = torch.tensor([[True, False, True]])

    plain, _ = _assign(output, objects)
    known, _ = _assign(output, objects, everything)
    unknown, iou = _assign(output, objects, class_1_unknown)

    assert (plain[0] >= 0).nonzero().tolist() == [[second]]
    assert torch.equal(plain, known)
    assert (unknown[0] >= 0).nonzero().tolist() == [[first]]
    assert iou[0, first] == pytest.approx(1.0)


def test_an_objects_own_class_counts_even_where_the_mask_says_unknown() -> None:
    output, objects = _two_predictions(labels=[0])
    first = _index_of(output.points, output.strides, 56)
    second = _index_of(output.points, output.strides, 64)
    output.class_logits[0, first, 0] = -40.0  # cross-entropy 40 against the perfect box's 4
    output.class_logits[0, second, 0] = 0.5  # score 0.62, as good as its IoU
    nothing_known = torch.zeros(1, 3, dtype=torch.bool)

    gt_index, _ = _assign(output, objects, nothing_known)

    assert (gt_index[0] >= 0).nonzero().tolist() == [[second]]


def test_a_label_the_detector_has_no_class_for_is_an_error_naming_it() -> None:
    output, objects = _two_predictions(labels=[3])

    with pytest.raises(DataError, match="class 3, but the detector has classes 0 to 2"):
        _assign(output, objects)


def test_predictions_that_are_not_numbers_match_nothing() -> None:
    output, objects = _two_predictions(labels=[0])
    not_a_number = output._replace(class_logits=output.class_logits * torch.nan)

    gt_index, _ = _assign(not_a_number, objects)

    assert (gt_index == -1).all()


class _LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple) else (result,):
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.untyped_storage().nbytes() // 4)
        return result


def test_no_tensor_has_an_object_and_a_class_axis() -> None:
    generator = torch.Generator().manual_seed(2)
    num_classes, num_objects = 50, 20
    objects = make_objects([num_objects] * 2, num_classes, generator=generator)
    output = make_output(objects, num_classes, generator=generator)
    scores, boxes = output.class_logits.detach().sigmoid(), output.boxes.detach()

    with _LargestTensor() as largest:  # type: ignore[no-untyped-call]  # as above
        align_ota(scores, boxes, output.points, output.strides, *objects)

    num_points = len(output.points)
    assert largest.numbers <= 2 * num_points * max(num_classes, 2 * num_objects)
