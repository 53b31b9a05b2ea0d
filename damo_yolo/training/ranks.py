"""What the processes of one training share; without a process group, one process stands alone.

Every function here is a collective: all ranks call it at the same step, or none does.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from damo_yolo.training.ema import WeightAverage


def is_parallel() -> bool:
    """Tell whether more than one process trains."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks, equal on each of them."""
    if not is_parallel():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def gather_objects(value: object) -> list[Any]:
    """Return the value of every rank, in rank order."""
    if not is_parallel():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def pool_norm_statistics(model: nn.Module, average: WeightAverage) -> None:
    """Make the running statistics of all ranks one, in the model and in its average.

    Batch normalisation on CPU sees the images of its own rank only. Training never reads running
    statistics, so pooling them where a checkpoint is written leaves every weight as it was and
    gives evaluation what all ranks saw: the mean of means, and the mean of variances plus the
    variance of means.
    """
    if not is_parallel():
        return
    names = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    for tensors in (dict(model.named_buffers()), average.state_dict()):
        means = [tensors[f"{name}.running_mean"] for name in names]
        variances = [tensors[f"{name}.running_var"] for name in names]
        _pool(means, variances)


@torch.no_grad()
def _pool(means: list[Tensor], variances: list[Tensor]) -> None:
    own_means = torch.cat(means)
    pooled_means = mean_over_ranks(own_means)
    spread = torch.cat(variances) + (own_means - pooled_means) ** 2
    sizes = [len(mean) for mean in means]
    for target, value in zip(means, torch.split(pooled_means, sizes), strict=True):
        target.copy_(value)
    for target, value in zip(variances, torch.split(mean_over_ranks(spread), sizes), strict=True):
        target.copy_(value)
