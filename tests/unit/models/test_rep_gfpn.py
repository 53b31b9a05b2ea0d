from typing import Any

import pytest
import torch

from damo_yolo.models.necks.rep_gfpn import NanoBlock, RepBlock, SeparableDown
from damo_yolo.models.zoo import build_detector


@pytest.mark.parametrize(
    ("name", "num_blocks"),
    [("damo-yolo-t", 3), ("damo-yolo-m", 4), ("damo-yolo-l", 6), ("damo-yolo-nl", 2)],
)
def test_every_node_has_as_many_blocks_as_the_size_says(name: str, num_blocks: int) -> None:
    neck = build_detector(name).neck

    nodes = (neck.merge_3, neck.merge_4, neck.merge_5, neck.merge_6, neck.merge_7)
    assert [len(node.convs) for node in nodes] == [num_blocks] * 5


def test_the_hidden_ratio_narrows_the_blocks_of_s() -> None:
    block = build_detector("damo-yolo-s").neck.merge_5.convs[0]

    assert isinstance(block, RepBlock)
    assert block.conv2.rbr_dense.conv.weight.shape == (48, 64, 3, 3)  # 0.75 of 64
    assert block.conv1.conv.weight.shape == (64, 48, 3, 3)


def test_nano_necks_are_depthwise_and_round_their_expansion() -> None:
    neck = build_detector("damo-yolo-ns").neck
    block = neck.merge_5.convs[0]

    assert isinstance(block, NanoBlock)
    assert block.conv.conv[3].weight.shape == (64, 1, 5, 5)  # 3 * 20 = 60, to 64
    assert isinstance(neck.bu_conv13, SeparableDown)


def test_depthwise_downsampling_starts_kaiming_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    down: Any = build_detector("damo-yolo-nl").neck.bu_conv76

    assert down.pointwise.weight.std().item() == pytest.approx((2 / 160) ** 0.5, rel=0.02)
    assert down.depthwise.weight.std().item() == pytest.approx((2 / (160 * 9)) ** 0.5, rel=0.05)


def test_information_of_every_level_reaches_every_output() -> None:
    torch.manual_seed(0)
    neck = build_detector("damo-yolo-ns").neck.eval()
    features = [
        torch.randn(1, width, 8 >> level, 8 >> level) for level, width in enumerate((40, 80, 160))
    ]
    with torch.no_grad():
        before = neck(tuple(features))
        for level in range(3):
            changed = list(features)
            changed[level] = changed[level] + 1
            after = neck(tuple(changed))
            assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
