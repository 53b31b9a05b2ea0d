"""Parameter groups: weights decay; biases and normalisation do not (facts: section 8)."""

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from damo_yolo.training.config import OptimizerConfig

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)  # noqa: SLF001 - the one base


def split_decay(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the trainable parameters by name: those that decay, and those that do not.

    Every bias and every parameter of a normalisation stays without decay; the head's level scales
    decay, as in the published optimiser.
    """
    decayed: dict[str, Tensor] = {}
    free: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            is_free = name == "bias" or isinstance(module, NORMS)
            target = free if is_free else decayed
            target[f"{prefix}.{name}" if prefix else name] = parameter
    return decayed, free


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Build the optimiser with two groups; the schedule sets their rate before every step."""
    decayed, free = split_decay(model)
    groups = [
        {"params": list(decayed.values()), "weight_decay": config.weight_decay},
        {"params": list(free.values()), "weight_decay": 0.0},
    ]
    if config.kind == "sgd":
        return SGD(groups, lr=0.0, momentum=config.momentum, nesterov=True, fused=True)
    return AdamW(groups, lr=0.0, fused=True)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the same rate for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
