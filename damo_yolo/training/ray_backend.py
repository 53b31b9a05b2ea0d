"""Torch under Ray Train: workers that hear SIGTERM, and no more helpers than the training needs.

A training runs in a thread of its worker; signals arrive in the main thread, where Ray runs what a
backend asks for at the start.

Every actor of Ray wakes a hundred times a second whatever it does, and ranks that meet in every
batch normalisation wait for each other whenever one of them is held up: on two cores four idle
actors slow a step down by seven per cent (docs/decisions/0006-ray-without-helpers.md).
"""

from dataclasses import dataclass
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.torch.torch_trainer import TorchTrainer  # what ray.train.torch gives at run time

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


class LeanTorchTrainer(TorchTrainer):
    """Ray's, without an actor that deals out Ray datasets, which this training has none of."""

    def __init__(self, *args: Any, ends_alone: bool, **settings: Any) -> None:
        """Take what `TorchTrainer` takes.

        Args:
            args: of `TorchTrainer`.
            ends_alone: nothing that may go on after this training has its connection to Ray, whose
                end gives back all resources: no actor has to wait for that.
            settings: of `TorchTrainer`.
        """
        self._ends_alone = ends_alone
        super().__init__(*args, **settings)

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        unused: tuple[type, ...] = (DatasetsCallback,)
        unused += (PlacementGroupCleanerCallback,) if self._ends_alone else ()
        return [c for c in super()._create_default_callbacks() if not isinstance(c, unused)]
