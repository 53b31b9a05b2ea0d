"""Moving average of weights: what is evaluated, saved and deployed (facts: section 8)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of every floating tensor of a state dict, normalisation statistics included.

    Integer counters keep the value of the start, as published.
    """

    def __init__(self, model: nn.Module) -> None:
        """Start from a copy of the model's state dict."""
        self.tensors = {name: value.clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, keep: float) -> None:
        """Move towards the model.

        Args:
            model: the model whose start this average copied.
            keep: share of the average that stays, 0..1; 0 copies the model.
        """
        mine: list[Tensor] = []
        theirs: list[Tensor] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                mine.append(self.tensors[name])
                theirs.append(value)
        torch._foreach_mul_(mine, keep)  # one call for hundreds of tensors
        torch._foreach_add_(mine, theirs, alpha=1.0 - keep)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged tensors, not copied, in the model's order."""
        return self.tensors

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over averaged tensors of the same names and shapes."""
        assert list(tensors) == list(self.tensors), "an average of another model"
        for name, value in self.tensors.items():
            value.copy_(tensors[name])
