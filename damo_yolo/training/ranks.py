"""What the processes of one training share; without a process group, one process stands alone.

Every function here is a collective: all ranks call it at the same step, or none does.
"""

import re
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from damo_yolo.errors import TrainingError
from damo_yolo.training.exchange import Exchange, LostPeersError

DEFAULT_TIMEOUT_S = 600.0
LAST_LOOK_S = 5.0
"""After a collective has failed: how long to wait for ranks that still come."""

_BROKEN = re.compile(r"Timed out|timed out|Connection (closed|reset|refused)|Broken pipe")
"""In what gloo says when a collective fails: a plain RuntimeError."""


class LostRankError(TrainingError):
    """A rank hangs or is gone; the others may start again from the last checkpoint."""


class Meeting:
    """Where the ranks of a training meet before every step, on CPUs whatever they train on.

    One that does not come within the timeout is named, which a collective that fails does not do.
    """

    def __init__(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Open it; a collective.

        Args:
            timeout_s: how long the first rank waits for the last one.
        """
        self._timeout_s = timeout_s
        self._exchange = Exchange(timeout_s) if is_parallel() else None

    def agree(self, wish: int) -> int:
        """Wait for all ranks, and return the largest of their wishes.

        Raises:
            LostRankError: ranks do not come, by their numbers.
        """
        if self._exchange is None:
            return wish
        return self._meet(self._exchange, wish)

    def explain(self, error: RuntimeError) -> None:
        """Raise `LostRankError` in place of a collective's error where a rank is missing.

        Every rank that is still alive gets such an error, and comes here.
        """
        known = isinstance(error, dist.DistError | LostPeersError)
        if self._exchange is not None and (known or _BROKEN.search(str(error))):
            self._exchange.wait_at_most(min(LAST_LOOK_S, self._timeout_s))
            self._meet(self._exchange, 0)

    def _meet(self, exchange: Exchange, wish: int) -> int:
        try:
            return int(exchange.gather(torch.tensor([float(wish)])).max())
        except LostPeersError as error:
            ranks = ", ".join(str(rank) for rank in error.ranks)
            raise LostRankError(
                f"rank {ranks} did not come to the next step ({error.reason})",
                fix="look at its log and its machine, then run again: the last checkpoint is whole",
            ) from error


def num_ranks() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_parallel() -> bool:
    """Tell whether more than one process trains."""
    return num_ranks() > 1


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model so wrapped that its gradients are means over all ranks."""
    if not is_parallel():
        return model
    devices = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks, equal on each of them."""
    if not is_parallel():
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / num_ranks()


def gather_objects(value: object) -> list[Any]:
    """Return the value of every rank, in rank order."""
    if not is_parallel():
        return [value]
    values: list[Any] = [None] * num_ranks()
    dist.all_gather_object(values, value)
    return values
