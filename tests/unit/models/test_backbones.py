from typing import Any

import pytest
import torch
from torch import nn

from damo_yolo.models.backbones.mae_mob import SqueezeExcite, expansion_width
from damo_yolo.models.backbones.mae_res import ResConvBlock
from damo_yolo.models.config import StructureRow, load_structure
from damo_yolo.models.layers import ConvBn
from damo_yolo.models.zoo import build_detector, detector_config


@pytest.mark.parametrize("name", ["damo-yolo-t", "damo-yolo-m", "damo-yolo-ns"])
def test_levels_have_strides_8_16_and_32(name: str) -> None:
    detector = build_detector(name).eval()

    with torch.no_grad():
        levels = detector.backbone(torch.zeros(1, 3, 64, 96))

    assert [tuple(level.shape[-2:]) for level in levels] == [(8, 12), (4, 6), (2, 3)]
    assert tuple(level.shape[1] for level in levels) == detector.config.backbone.out_channels


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        ("ns", [88, 160, 288, 400, 880]),
        ("nm", [144, 256, 504, 640, 1408]),
        ("nl", [168, 320, 720, 800, 1760]),
    ],
)
def test_mobile_blocks_expand_the_output_width_more_with_each_row(
    size: str, widths: list[int]
) -> None:
    rows = load_structure(size).rows

    assert [expansion_width(row, position) for position, row in enumerate(rows)] == widths


def test_a_searched_width_replaces_the_rule() -> None:
    row = StructureRow(out_channels=24, bottleneck=40, num_blocks=1, stride=2)

    assert expansion_width(row, 0) == 40


def test_blocks_of_each_csp_stage_are_counted_as_published() -> None:
    for name, counts in (("damo-yolo-m", [1, 3, 7, 2]), ("damo-yolo-l", [2, 4, 9, 3])):
        backbone: Any = build_detector(name).backbone
        assert [len(stage.convstem) for stage in backbone.csp_stage[1:]] == counts


def test_a_block_that_halves_the_size_has_no_shortcut() -> None:
    block = ResConvBlock(4, 4, 4, kernel_size=1, stride=2, activation="relu").eval()
    _silence(block)

    assert not block(torch.ones(1, 4, 4, 4)).any()


def test_a_block_that_keeps_its_shape_adds_its_input() -> None:
    block = ResConvBlock(4, 4, 4, kernel_size=1, stride=1, activation="relu").eval()
    _silence(block)

    assert (block(torch.ones(1, 4, 4, 4)) == 1).all()


def test_a_block_that_only_widens_projects_its_input() -> None:
    block = ResConvBlock(4, 6, 4, kernel_size=1, stride=1, activation="relu")

    assert isinstance(block.residual_proj, ConvBn)
    assert block(torch.ones(1, 4, 4, 4)).shape == (1, 6, 4, 4)


def test_activations_follow_the_config_but_for_pooling_and_csp_transitions() -> None:
    names = {"relu": nn.ReLU, "silu": nn.SiLU, "hard_swish": nn.Hardswish}
    detector: Any = build_detector("damo-yolo-m", activation="hard_swish")
    stage = detector.backbone.csp_stage[4]

    assert isinstance(stage.convstem[0].act, names["hard_swish"])
    assert isinstance(stage.downsampler.act, names["relu"])
    assert isinstance(stage.spp.conv1.act, names["silu"])
    assert isinstance(detector.neck.merge_3.conv1.act, names["hard_swish"])


def test_a_mobile_backbone_starts_as_published() -> None:
    torch.manual_seed(0)
    backbone: Any = build_detector("damo-yolo-nm").backbone
    stage = backbone.block_list[5].block_list[0].conv

    assert stage[0].weight.std().item() == pytest.approx(1 / 128, rel=0.02)  # 128 inputs
    assert stage[3].weight.std().item() == pytest.approx(1.0, rel=0.02)  # depthwise: 1 input
    assert stage[1].weight.unique().tolist() == [1.0]
    assert stage[1].bias.unique().tolist() == pytest.approx([1e-4])


def test_squeeze_and_excite_sits_between_norm_and_activation() -> None:
    config = detector_config("damo-yolo-ns")
    values = config.backbone.model_dump() | {"squeeze_excite": True}
    detector: Any = build_detector(config, backbone=values)

    block = detector.backbone.block_list[1].block_list[0]
    assert isinstance(block.conv[5], SqueezeExcite)
    keys = detector.state_dict()
    assert keys["backbone.block_list.1.block_list.0.conv.5.fc.0.weight"].shape == (22, 88)
    assert keys["backbone.block_list.1.block_list.0.conv.5.fc.2.weight"].shape == (88, 22)
    assert detector.eval()(torch.zeros(1, 3, 64, 64))[0].isfinite().all()


def _silence(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
