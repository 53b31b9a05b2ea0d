from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from damo_yolo.models.layers import Focus, SpatialPyramidPooling, make_activation, round_to_8


@pytest.mark.parametrize(
    ("width", "rounded"), [(84, 88), (60, 64), (5, 8), (100, 104), (36, 40), (35.9, 40), (11, 16)]
)
def test_widths_round_to_eights_and_never_lose_a_tenth(width: float, rounded: int) -> None:
    assert round_to_8(width) == rounded


def test_focus_orders_pixels_by_column_parity_then_row_parity() -> None:
    focus: Any = Focus(1, 4, activation="relu")
    focus.conv.conv = nn.Conv2d(4, 4, 1, bias=False)  # pass the four cells through
    nn.init.dirac_(focus.conv.conv.weight)
    focus.conv.bn = nn.Identity()
    pixels = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])  # rows (0, 1), (2, 3)

    cells = focus(pixels)

    assert cells.flatten().tolist() == [0.0, 2.0, 1.0, 3.0]


def test_chained_pools_equal_windows_of_5_9_and_13() -> None:
    pooling = SpatialPyramidPooling(8, activation="silu").eval()
    x = torch.randn(2, 8, 20, 17, generator=torch.Generator().manual_seed(0))

    reduced = pooling.conv1(x)
    windows = [functional.max_pool2d(reduced, k, stride=1, padding=k // 2) for k in (5, 9, 13)]
    expected = pooling.conv2(torch.cat([reduced, *windows], dim=1))

    assert torch.equal(pooling(x), expected)


def test_no_activation_is_the_identity() -> None:
    x = torch.tensor([-1.0, 2.0])

    assert torch.equal(make_activation(None)(x), x)
    assert make_activation("relu")(x.clone()).tolist() == [0.0, 2.0]
    assert make_activation("hard_swish")(torch.tensor([3.0])).item() == 3.0
