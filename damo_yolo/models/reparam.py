"""RepConv, and folding its branches and every batch norm into plain convolutions.

Shapes: O output channels, I input channels per group, K kernel size.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from damo_yolo.models.config import Activation
from damo_yolo.models.layers import ConvBnAct, make_activation

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class RepConv(nn.Module):
    """A 3x3 and a 1x1 convolution, each with its batch norm, summed, then an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        activation: Activation | None,
    ) -> None:
        super().__init__()
        self.rbr_dense = ConvBnAct(in_channels, out_channels, 3, stride=stride, activation=None)
        self.rbr_1x1 = ConvBnAct(in_channels, out_channels, 1, stride=stride, activation=None)
        self.act = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        y: Tensor = self.act(self.rbr_dense(x) + self.rbr_1x1(x))
        return y


class FusedRepConv(nn.Module):
    """What a `RepConv` becomes for deployment: one 3x3 convolution with a bias."""

    def __init__(self, source: RepConv) -> None:
        super().__init__()
        dense, point = source.rbr_dense, source.rbr_1x1
        weight, bias = folded(dense.conv, dense.bn)
        point_weight, point_bias = folded(point.conv, point.bn)
        weight = weight + functional.pad(
            point_weight, (1, 1, 1, 1)
        )  # 1x1 sits in the middle of 3x3
        self.rbr_reparam = _with_bias(dense.conv, weight, bias + point_bias)
        self.act = source.act

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        y: Tensor = self.act(self.rbr_reparam(x))
        return y


def fuse(detector: ModuleT) -> ModuleT:
    """Return a new detector in eval mode, all its branches and batch norms folded away.

    Its outputs equal those of the original in eval mode up to rounding; the original is untouched.
    """
    fused = fuse_branches(detector)
    for owner in fused.modules():
        for conv_name, norm_name in getattr(owner, "norm_pairs", ()):
            conv, norm = owner.get_submodule(conv_name), owner.get_submodule(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm):
                owner.set_submodule(conv_name, _with_bias(conv, *folded(conv, norm)))
                owner.set_submodule(norm_name, nn.Identity())
    assert not any(isinstance(module, _BatchNorm) for module in fused.modules())
    return fused


def fuse_branches(detector: ModuleT) -> ModuleT:
    """Return a new detector in eval mode with one convolution per RepConv, other norms kept."""
    fused = copy.deepcopy(detector).eval()
    names = [name for name, module in fused.named_modules() if isinstance(module, RepConv)]
    for name in names:
        branches = fused.get_submodule(name)
        assert isinstance(branches, RepConv)
        fused.set_submodule(name, FusedRepConv(branches).eval())
    return fused


def folded(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weight (O, I, K, K) and bias (O,) that do a convolution and its norm in one."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():  # in fp64: folding is done once and its rounding stays for ever
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = conv.weight.double() * gain.view(-1, 1, 1, 1)
        bias = norm.bias.double() - norm.running_mean.double() * gain
    return weight, bias


def _with_bias(like: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    conv = copy.deepcopy(like)
    dtype = like.weight.dtype
    memory_format = (
        torch.channels_last if _is_channels_last(like.weight) else torch.contiguous_format
    )
    conv.weight = nn.Parameter(weight.to(dtype).contiguous(memory_format=memory_format))
    conv.bias = nn.Parameter(bias.to(dtype))
    return conv


def _is_channels_last(weight: Tensor) -> bool:
    return not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)
