"""What the processes of one training share; without a process group, one process stands alone.

Every function here is a collective: all ranks call it at the same step, or none does.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from damo_yolo.errors import TrainingError
from damo_yolo.training.exchange import LAST_LOOK_S, Exchange, LostPeersError, open_exchange

DEFAULT_TIMEOUT_S = 600.0
_FAILED = 99
"""What a rank brings to the meeting whose step has failed; above any wish."""
_BROKEN = re.compile(r"Timed out|timed out|Connection (closed|reset|refused)|Broken pipe")
"""In what gloo says when a collective fails: a plain RuntimeError."""


class LostRankError(TrainingError):
    """A rank hangs or is gone; the others may start again from the last checkpoint."""


class Meeting:
    """Where the ranks of a training meet before every step, on CPUs whatever they train on.

    One that does not come within the timeout is named, which a collective of torch that fails does
    not do.
    """

    def __init__(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Open it; a collective.

        Args:
            timeout_s: how long the first rank waits for the last one.
        """
        self._exchange = open_exchange(timeout_s) if is_parallel() else None

    def agree(self, wish: int) -> int:
        """Wait for all ranks, and return the largest of their wishes.

        Raises:
            LostRankError: ranks do not come, by their numbers, or one comes whose step failed.
        """
        if self._exchange is None:
            return wish
        agreed = self._meet(self._exchange, wish, {})
        if agreed == _FAILED:
            raise _lost("a rank could not end its step", "its message says why")
        return agreed

    def explain(self, error: RuntimeError) -> None:
        """Raise `LostRankError` in place of an error of a collective.

        Ranks that are alive get such an error as well, and come here; those that do not are named.
        An error of something else, or of torch's where nobody is missing, is left to the caller.
        """
        reasons = error.reasons if isinstance(error, LostPeersError) else {}
        is_known = reasons or isinstance(error, dist.DistError) or _BROKEN.search(str(error))
        if self._exchange is None or not is_known:
            return
        self._exchange.timeout_s = min(LAST_LOOK_S, self._exchange.timeout_s)
        self._meet(self._exchange, _FAILED, reasons)
        if reasons:
            raise _lost("a connection between ranks broke", str(error)) from error

    def close(self) -> None:
        """Leave: whoever still waits for this rank need not."""
        if self._exchange is not None:
            self._exchange.close()

    def _meet(self, exchange: Exchange, wish: int, known: Mapping[int, str]) -> int:
        try:
            return int(exchange.gather(torch.tensor([float(wish)])).max())
        except LostPeersError as error:
            ranks = ", ".join(str(rank) for rank in error.reasons)
            reasons = [known.get(rank, reason) for rank, reason in error.reasons.items()]
            why = ", ".join(dict.fromkeys(reasons))
            raise _lost(f"rank {ranks} did not come to the next step", why) from error


def _lost(problem: str, why: str) -> LostRankError:
    return LostRankError(
        f"{problem} ({why})",
        fix="look at its log and its machine, then run again: the last checkpoint is whole",
    )


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
