import math
from typing import Any

import pytest
import torch

from damo_yolo.models.heads.zero_head import class_bias
from damo_yolo.models.zoo import build_detector


def test_a_fresh_head_scores_every_class_at_its_prior() -> None:
    head: Any = build_detector("damo-yolo-ns", 7, class_prior=0.05).head

    for conv in head.gfl_cls:
        torch.testing.assert_close(conv.bias.sigmoid(), torch.full((7,), 0.05))
    for conv in head.gfl_reg:
        assert not conv.bias.any()


def test_the_published_prior_gives_the_published_bias() -> None:
    assert class_bias(0.01) == pytest.approx(-4.59512)


def test_projections_start_small() -> None:
    torch.manual_seed(0)
    head: Any = build_detector("damo-yolo-t").head
    weight = head.gfl_cls[2].weight  # 80 x 256 x 3 x 3 draws

    assert weight.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert weight.std().item() == pytest.approx(0.01, rel=0.01)


def test_side_logits_are_scaled_bias_included() -> None:
    detector = build_detector("damo-yolo-ns", 2)
    features = [torch.zeros(1, width, 1, 1) for width in detector.neck_channels]
    with torch.no_grad():
        head: Any = detector.head
        head.gfl_reg[1].bias.fill_(3.0)
        head.scales[1].scale.fill_(2.0)
        _, side_logits = head(features)

    assert side_logits[0, :, 0, 0].tolist() == [0.0, 6.0, 0.0]


def test_side_channels_count_left_then_top_then_right_then_bottom() -> None:
    detector = build_detector("damo-yolo-ns", 2)  # 8 bins a side
    features = [torch.zeros(1, width, 1, 1) for width in detector.neck_channels]
    with torch.no_grad():
        head: Any = detector.head
        head.gfl_reg[0].bias.copy_(torch.arange(32.0))
        _, side_logits = head(features)

    assert side_logits[0, 0].tolist() == [[8.0 * side + k for k in range(8)] for side in range(4)]
    assert math.prod(side_logits.shape) == 3 * 32
