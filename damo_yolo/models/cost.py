"""What a detector costs: parameters, and floating point operations of its convolutions.

Counted on torch's meta device: shapes only, no memory, no arithmetic.
"""

import copy

import torch
from torch import Tensor, nn

from damo_yolo.config import Config
from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse, fuse_branches


class Cost(Config):
    """Size and work of one detector in its three forms."""

    params_m: float
    """Millions of parameters, branches fused, batch norms kept: the form authors quote."""
    params_train_m: float
    """Millions of parameters that training sees."""
    params_folded_m: float
    """Millions of parameters, batch norms folded too: what is deployed."""
    gflops: float
    """Of one image with branches fused; folding batch norms does not change it."""
    gflops_train: float
    """Of one image in the training form, forward only."""


def measure_cost(config: DetectorConfig, *, image_size: int | None = None) -> Cost:
    """Return the cost of a detector.

    Args:
        config: the detector.
        image_size: side of the square input, pixels; None takes the config's.
    """
    side = image_size or config.image_size
    with torch.device("meta"):
        detector = Detector(config)
    branches_fused = fuse_branches(detector)
    return Cost(
        params_m=count_parameters(branches_fused) / 1e6,
        params_train_m=count_parameters(detector) / 1e6,
        params_folded_m=count_parameters(fuse(detector)) / 1e6,
        gflops=count_flops(branches_fused, image_size=side) / 1e9,
        gflops_train=count_flops(detector, image_size=side) / 1e9,
    )


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers training could change."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(detector: Detector, *, image_size: int) -> int:
    """Return operations of all convolutions for one square image, a multiply-add being two.

    Norms, activations and decoding are not counted. The detector itself is not run.
    """
    shadow = copy.deepcopy(detector).to("meta").eval()
    total = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += 2 * output.numel() * module.weight[0].numel()

    for name, module in list(shadow.named_modules()):
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
        elif isinstance(module, nn.BatchNorm2d):
            shadow.set_submodule(name, nn.Identity())  # not counted, and slow without a device
    with torch.no_grad():
        shadow(torch.zeros(1, 3, image_size, image_size, device="meta"))
    return total
