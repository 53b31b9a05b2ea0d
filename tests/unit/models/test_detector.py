from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn

from damo_yolo.errors import DamoYoloError
from damo_yolo.models.detector import Detector, DetectorOutput
from damo_yolo.models.zoo import build_detector

MakeDetector = Callable[..., Detector]
MakeImages = Callable[..., Tensor]
NUM_POINTS = 8 * 12 + 4 * 6 + 2 * 3  # of a 64 x 96 image at strides 8, 16, 32


def sum_of(output: DetectorOutput) -> Tensor:
    return output.class_logits.float().sum() + output.boxes.sum()


def test_training_and_eval_outputs_have_the_promised_shapes() -> None:
    detector = build_detector("damo-yolo-ns", 5)
    images = torch.zeros(2, 3, 64, 96)

    output = detector.train()(images)
    scores, boxes = detector.eval()(images)

    assert isinstance(output, DetectorOutput)
    assert output.class_logits.shape == scores.shape == (2, NUM_POINTS, 5)
    assert output.side_logits.shape == (2, NUM_POINTS, 4, 8)
    assert output.boxes.shape == boxes.shape == (2, NUM_POINTS, 4)
    assert output.points.shape == (NUM_POINTS, 2)
    assert output.strides.shape == (NUM_POINTS, 1)
    assert output.class_logits.is_contiguous()
    widths = tuple(feature.shape[1] for feature in output.features)
    assert widths == detector.neck_channels == (40, 80, 160)


def test_scores_are_the_sigmoid_of_the_logits_of_the_same_features(
    calibrated: MakeDetector, images: MakeImages
) -> None:
    detector = calibrated("damo-yolo-ns")
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    with torch.no_grad():
        scores, boxes = detector(images(1, 64))
        detector.training = True  # the switch of the detector alone: norms stay in eval mode
        output = detector(images(1, 64))

    assert torch.equal(output.class_logits.sigmoid(), scores)
    assert torch.equal(output.boxes, boxes)


@pytest.mark.parametrize(
    ("shape", "complaint", "advice"),
    [
        ((1, 3, 64, 100), "64 pixels high and 100 wide", "64 by 128"),
        ((1, 3, 50, 64), "multiples of 32", "64 by 64"),
        ((1, 1, 64, 64), r"shape \(1, 1, 64, 64\)", "RGB"),
        ((3, 64, 64), r"shape \(3, 64, 64\)", "batch"),
    ],
)
def test_images_of_a_wrong_shape_are_a_clear_error(
    shape: tuple[int, ...], complaint: str, advice: str
) -> None:
    with pytest.raises(DamoYoloError, match=complaint) as caught:
        build_detector("damo-yolo-ns", 5)(torch.zeros(shape))

    assert advice in caught.value.fix


def test_bytes_must_become_floats_first() -> None:
    with pytest.raises(DamoYoloError, match="uint8"):
        build_detector("damo-yolo-ns", 5)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_norm_settings_reach_every_norm() -> None:
    detector = build_detector("damo-yolo-t", bn_eps=2e-3, bn_momentum=0.1)

    norms = [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 50
    assert {(norm.eps, norm.momentum) for norm in norms} == {(2e-3, 0.1)}


@pytest.mark.parametrize("name", ["damo-yolo-t", "damo-yolo-m", "damo-yolo-ns"])
def test_every_parameter_gets_a_gradient(name: str) -> None:
    detector = build_detector(name, 3)

    torch.autograd.backward(sum_of(detector.train()(torch.rand(2, 3, 64, 64) * 255)))

    assert [key for key, value in detector.named_parameters() if value.grad is None] == []


def test_channels_last_gives_the_same_outputs(calibrated: MakeDetector, images: MakeImages) -> None:
    detector: Any = calibrated("damo-yolo-ns")
    x = images(1, 64)
    with torch.no_grad():
        scores, boxes = detector(x)
        detector.to(memory_format=torch.channels_last)
        features = detector.features(x.contiguous(memory_format=torch.channels_last))
        other_scores, other_boxes = detector(x.contiguous(memory_format=torch.channels_last))

    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in features)
    torch.testing.assert_close(other_scores, scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(other_boxes, boxes, rtol=0, atol=1e-2)


def test_the_box_branch_is_float32_under_autocast() -> None:
    detector = build_detector("damo-yolo-ns", 3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = detector.train()(torch.rand(2, 3, 64, 64) * 255)
    torch.autograd.backward(sum_of(output))

    assert output.class_logits.dtype is torch.bfloat16
    assert output.side_logits.dtype is torch.float32
    assert output.boxes.dtype is torch.float32


def test_it_trains_under_distributed_data_parallel(tmp_path: Path) -> None:
    detector = build_detector("damo-yolo-ns", 3)
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(detector)
        for _ in range(2):  # a second step fails if the first left a parameter without gradient
            output = wrapped(torch.rand(2, 3, 64, 64) * 255)
            assert isinstance(output, DetectorOutput)
            torch.autograd.backward(sum_of(output))
    finally:
        distributed.destroy_process_group()


def test_two_sizes_after_one_another_leave_no_state(
    calibrated: MakeDetector, images: MakeImages
) -> None:
    detector = calibrated("damo-yolo-ns")
    with torch.no_grad():
        first = detector(images(1, 64))
        detector(images(2, 96))
        again = detector(images(1, 64))

    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("name", ["damo-yolo-ns", "damo-yolo-t"])
def test_a_trace_agrees_with_the_detector_and_serves_other_sizes(
    name: str, calibrated: MakeDetector, images: MakeImages
) -> None:
    detector = calibrated(name)
    trace: Any = torch.jit.trace  # deprecated, yet what OpenVINO's converter calls
    traced = trace(detector, images(1, 64))
    with torch.no_grad():
        for x in (images(1, 64, seed=1), images(1, 96, seed=2)):
            for ours, theirs in zip(detector(x), traced(x), strict=True):
                torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-2)


def test_an_exported_program_agrees_with_the_detector(
    calibrated: MakeDetector, images: MakeImages
) -> None:
    detector = calibrated("damo-yolo-ns")
    program = torch.export.export(detector, (images(1, 64),))
    x = images(1, 64, seed=1)
    with torch.no_grad():
        expected = detector(x)
        found = program.module()(x)

    assert expected[0].std() > 0.05
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=1e-3)
    operators = {str(node.target) for node in program.graph.nodes}
    assert not any("matmul" in operator or "aten.mm" in operator for operator in operators)
