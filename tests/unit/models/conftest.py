"""Detectors whose outputs vary: with default weights any two outputs would seem to agree."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from damo_yolo.models.detector import Detector
from damo_yolo.models.zoo import build_detector

MakeDetector = Callable[..., Detector]


@pytest.fixture
def calibrated() -> MakeDetector:
    """Return a function that builds a detector with weights and statistics that matter."""

    def make(name: str, **overrides: Any) -> Detector:
        torch.manual_seed(0)
        detector = build_detector(name, **{"num_classes": 5, "bn_momentum": 1.0} | overrides)
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.normal_(module.bias, std=0.2)
        for conv in (*detector.head.gfl_cls, *detector.head.gfl_reg):
            nn.init.normal_(conv.weight, std=2 / conv.weight[0].numel() ** 0.5)
        with torch.no_grad():  # momentum 1: running statistics become those of this batch
            detector.train()(random_images(2, 96))
        return detector.eval()

    return make


def random_images(batch: int, side: int, *, seed: int = 0) -> Tensor:
    """Return (B, 3, side, side) float images in 0..255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, side, side), generator=generator).float()


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Return `random_images`."""
    return random_images
