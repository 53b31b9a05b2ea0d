"""Batch normalisation over the images of all ranks, on CPUs too.

torch's own `SyncBatchNorm` needs CUDA. Without one, two ranks of four images are trained on other
statistics than one rank of eight: on the embedded sample that costs 0.08 AP (docs/training.md).
Shapes: B images of this rank, N values of a channel over all ranks.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from damo_yolo.training.exchange import Exchange, open_exchange
from damo_yolo.training.ranks import DEFAULT_TIMEOUT_S


class _Normalise(torch.autograd.Function):
    """Map (B, channels, H, W) to the same shape, with mean and variance over all ranks.

    One collective forward (count, mean and squared deviations of each channel) and one backward
    (the two sums of the gradient through mean and variance).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, exchange: Exchange
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own_mean, own_variance = torch.batch_norm_update_stats(x.detach(), None, None, 0.0)
        own_count = own_mean.new_full((1,), x.numel() / x.shape[1])
        own = torch.cat((own_count, own_mean, own_variance))
        counts, means, variances = torch.split(
            exchange.gather(own), [1, x.shape[1], x.shape[1]], dim=1
        )
        share = counts / counts.sum()
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean) ** 2)).sum(0)
        y = nn.functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.eps, ctx.count, ctx.exchange = eps, float(counts.sum()), exchange
        ctx.mark_non_differentiable(mean, variance, counts)
        return y, mean, variance, counts

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, mean, scale = ctx.saved_tensors
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0],
            x,
            weight,
            mean,
            scale.reciprocal().square() - ctx.eps,
            None,
            None,
            train=False,  # takes mean and variance as given; their own gradient is added below
            eps=ctx.eps,
            output_mask=[True, True, True],
        )
        sums = ctx.exchange.gather(torch.cat((grad_weight, grad_bias))).sum(0)
        along, across = (sums / ctx.count).chunk(2)  # mean of gradient * normalised x, of gradient
        factor = weight * scale
        slope = factor * scale * along
        shape = (1, -1, 1, 1)
        grad_x.addcmul_(x, slope.view(shape), value=-1)
        grad_x.sub_((factor * across - slope * mean).view(shape))
        return grad_x, grad_weight, grad_bias, None, None


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
        y, mean, variance, counts = normalised
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            total = counts.sum()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * total / (total - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        return y


def share_statistics(
    model: nn.Module, device: torch.device, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> None:
    """Let every batch normalisation of a model see the images of all ranks; changes it in place.

    A collective.

    Args:
        model: on any device, its weights stay.
        device: where it will train.
        timeout_s: how long a rank waits for the statistics of another.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    exchange = open_exchange(timeout_s)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
            cast("SyncBatchNorm2d", module).exchange = exchange
