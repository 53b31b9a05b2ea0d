from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import FusedRepConv, RepConv, fuse, fuse_branches

MakeDetector = Callable[..., Detector]


def test_fused_weight_is_the_sum_of_both_branches_over_their_deviations() -> None:
    conv = RepConv(1, 1, activation=None).eval()
    for branch, variance, mean in ((conv.rbr_dense, 4.0, 2.0), (conv.rbr_1x1, 0.25, 0.0)):
        nn.init.ones_(branch.conv.weight)
        branch.bn.eps = 0.0
        branch.bn.running_var = torch.tensor([variance])
        branch.bn.running_mean = torch.tensor([mean])
        nn.init.constant_(branch.bn.bias, 3.0)

    fused = FusedRepConv(conv).rbr_reparam

    assert fused.weight[0, 0].tolist() == [[0.5, 0.5, 0.5], [0.5, 2.5, 0.5], [0.5, 0.5, 0.5]]
    assert fused.bias is not None
    assert fused.bias.tolist() == [5.0]  # (3 - 2 / 2) + 3


@pytest.mark.parametrize("name", ["damo-yolo-t", "damo-yolo-m", "damo-yolo-ns"])
def test_a_fused_detector_gives_the_same_outputs_without_branches_or_norms(
    name: str, calibrated: MakeDetector, images: Callable[..., Tensor]
) -> None:
    detector = calibrated(name).double()
    fused = fuse(detector)
    with torch.no_grad():
        scores, boxes = detector(images(1, 96, seed=1).double())
        fused_scores, fused_boxes = fused(images(1, 96, seed=1).double())

    assert scores.std() > 0.05  # else anything would agree
    torch.testing.assert_close(fused_scores, scores, rtol=0, atol=1e-6)
    torch.testing.assert_close(fused_boxes, boxes, rtol=0, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d | RepConv) for module in fused.modules())


def test_fusing_leaves_the_original_untouched(calibrated: MakeDetector) -> None:
    detector = calibrated("damo-yolo-t").train()
    before = {key: value.clone() for key, value in detector.state_dict().items()}

    fused = fuse(detector)
    with torch.no_grad():
        for parameter in fused.parameters():
            parameter.zero_()

    after = detector.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert detector.training
    assert not fused.training


def test_fusing_twice_changes_nothing(calibrated: MakeDetector) -> None:
    once = fuse(calibrated("damo-yolo-ns"))
    twice = fuse(once)

    assert list(twice.state_dict()) == list(once.state_dict())
    for key, value in once.state_dict().items():
        assert torch.equal(twice.state_dict()[key], value)


def test_branches_fuse_under_the_published_name_and_norms_stay(calibrated: MakeDetector) -> None:
    detector = calibrated("damo-yolo-t")

    keys = set(fuse_branches(detector).state_dict())

    assert "neck.merge_3.convs.0.conv2.rbr_reparam.bias" in keys
    assert "neck.merge_3.conv1.bn.weight" in keys
    assert not any("rbr_dense" in key or "rbr_1x1" in key for key in keys)


def test_synchronised_norms_fold_too(calibrated: MakeDetector) -> None:
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    detector = convert(calibrated("damo-yolo-ns"))

    assert not any(isinstance(module, nn.SyncBatchNorm) for module in fuse(detector).modules())


def test_fused_weights_keep_the_memory_format(calibrated: MakeDetector) -> None:
    detector: Any = calibrated("damo-yolo-ns")

    weight = fuse(detector.to(memory_format=torch.channels_last)).neck.merge_3.conv3.conv.weight

    assert weight.is_contiguous(memory_format=torch.channels_last)
