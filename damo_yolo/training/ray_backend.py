"""Torch under Ray Train, with workers that hear SIGTERM.

A training runs in a thread of its worker; signals arrive in the main thread, where Ray runs what a
backend asks for at the start.
"""

from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from damo_yolo.training.stop import note_sigterm


class StoppableTorchBackend(_TorchBackend):
    """Ray's, and a handler of SIGTERM in every worker."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Start the process group, then listen."""
        super().on_start(worker_group, backend_config)
        worker_group.execute(note_sigterm)


@dataclass
class StoppableTorchConfig(TorchConfig):
    """Settings of Ray's backend, see `TorchConfig`."""

    @property
    def backend_cls(self) -> type[StoppableTorchBackend]:
        """Return the backend that listens."""
        return StoppableTorchBackend
