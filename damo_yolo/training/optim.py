"""Parameter groups: weights decay; biases and normalisation do not (facts: section 8)."""

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from damo_yolo.training.config import OptimizerConfig

CLASS_BRANCH = ".gfl_cls."
"""In the names of the parameters that make class logits."""
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
    """Build the optimiser; the schedule sets the rate of its groups before every step."""
    decayed, free = split_decay(model)
    groups = []
    for parameters, decay in ((decayed, config.weight_decay), (free, 0.0)):
        in_branch = [value for name, value in parameters.items() if CLASS_BRANCH in name]
        elsewhere = [value for name, value in parameters.items() if CLASS_BRANCH not in name]
        for members, factor in ((elsewhere, 1.0), (in_branch, config.class_rate_factor)):
            groups.append({"params": members, "weight_decay": decay, "rate_factor": factor})
    groups = [group for group in groups if group["params"]]
    if config.kind == "sgd":
        return SGD(groups, lr=0.0, momentum=config.momentum, nesterov=True, fused=True)
    return AdamW(groups, lr=0.0, fused=True)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the rate of all groups, each times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
