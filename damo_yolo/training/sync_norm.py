"""Batch normalisation over the images of all ranks, on CPUs too.

torch's own `SyncBatchNorm` needs CUDA. Without one, two ranks of four images are trained on other
statistics than one rank of eight: on the embedded sample that costs 0.08 AP (docs/training.md).
Shapes: B images of this rank, N values of a channel over all ranks.
"""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from damo_yolo.training.exchange import Exchange
from damo_yolo.training.ranks import DEFAULT_TIMEOUT_S


class _Normalise(torch.autograd.Function):
    """Map (B, channels, H, W) to the same shape, with mean and variance over all ranks.

    One collective forward (count, mean and squared deviations of each channel) and one backward
    (the two sums of the gradient through mean and variance). What is as long as the channels is
    counted in numpy: a call of torch takes some microseconds, and a step has thousands of them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, exchange: Exchange
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        own_count = np.full(1, x.numel() // channels, dtype=np.float32)
        own = np.concatenate((own_count, own_mean.numpy(), own_variance.numpy()))
        counts, means, variances = np.split(exchange.gather(own), [1, 1 + channels], axis=1)
        count = counts.sum()
        share = counts / count
        whole_mean = (share * means).sum(0)
        whole_variance = (share * (variances + (means - whole_mean) ** 2)).sum(0)
        mean, variance = torch.from_numpy(whole_mean), torch.from_numpy(whole_variance)
        y = _apply(x, mean, variance, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.count, ctx.exchange = eps, float(count), exchange
        total = torch.tensor(ctx.count)
        ctx.mark_non_differentiable(mean, variance, total)
        return y, mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        grad_y = gradients[0]
        x, weight, mean, variance = ctx.saved_tensors
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            *(grad_y, x, weight, mean, variance, None, None),
            train=False,  # mean and variance as given; their own gradient is added below
            eps=ctx.eps,
            output_mask=[False, True, True],
        )
        sums = ctx.exchange.gather(np.concatenate((grad_weight.numpy(), grad_bias.numpy()))).sum(0)
        factor = weight * (variance + ctx.eps).rsqrt()
        along, across = torch.from_numpy(sums).view(2, -1) * (factor * (-1 / ctx.count))
        # factor * (gradient - mean(gradient * normalised x) * normalised x - mean(gradient))
        grad_x = _apply(x, mean, variance, along, across, ctx.eps)
        grad_x.addcmul_(grad_y, factor.view(1, -1, 1, 1))
        return grad_x, grad_weight, grad_bias, None, None


def _apply(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return nn.functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose training statistics are those of all ranks."""

    exchange: Exchange

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape; a collective in training mode."""
        if not self.training:
            return super().forward(x)
        normalised: tuple[Tensor, ...] = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self.exchange
        )
        y, mean, variance, total = normalised
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * total / (total - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        return y


def share_statistics(model: nn.Module, device: torch.device) -> None:
    """Let every batch normalisation of a model see the images of all ranks; changes it in place.

    A collective.

    Args:
        model: on any device, its weights stay.
        device: where it will train.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    exchange = Exchange(DEFAULT_TIMEOUT_S)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
            cast("SyncBatchNorm2d", module).exchange = exchange
