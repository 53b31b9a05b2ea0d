import torch
from torch import nn

from damo_yolo.export.sensitivity import layer_sensitivity
from damo_yolo.models.reparam import fuse
from tests.detector_builders import calibrated_detector, textured_images


def test_a_layer_with_one_huge_weight_is_the_most_sensitive_and_nothing_is_left_changed() -> None:
    fused = fuse(calibrated_detector())
    fragile = "neck.merge_4.conv1.conv"
    conv = fused.get_submodule(fragile)
    assert isinstance(conv, nn.Conv2d)
    with torch.no_grad():
        conv.weight *= 0.01  # small ones beside a huge one: rounding to 127 steps takes them all
        conv.weight[:, 0] = 1e4
    with torch.no_grad():  # and the huge one sees a channel that is always zero
        source = next(m for n, m in fused.named_modules() if n == fragile)
        source.register_forward_pre_hook(lambda _, given: (_silence_first(given[0]),))
        conv.weight[:, 1:] *= 100
    before = conv.weight.clone()

    rows = layer_sensitivity(fused, list(textured_images(4).numpy()))

    names = [row.layer for row in rows]
    convolutions = [n for n, m in fused.named_modules() if isinstance(m, nn.Conv2d)]
    assert sorted(names) == sorted(convolutions)
    assert fragile in names[:3]
    assert rows[0].score_change > 3 * rows[len(rows) // 2].score_change
    assert torch.equal(conv.weight, before)


def _silence_first(values: torch.Tensor) -> torch.Tensor:
    values = values.clone()
    values[:, 0] = 0
    return values
