"""Loader processes beside a training worker: torch's DataLoader carries their parts of each batch.

The processes live as long as the loader; what epoch to make next lies in memory they share.
"""

from collections.abc import Iterator
from typing import Protocol, get_args

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from damo_yolo.augment.policy import Phase
from damo_yolo.errors import DamoYoloError, TrainingError
from damo_yolo.loading.collate import join
from damo_yolo.samples import Batch

PHASES: tuple[Phase, ...] = get_args(Phase)


class PartMaker(Protocol):
    """What makes batches; it is sent to every process."""

    def part(self, worker: int, epoch: int, *, phase: Phase, start_step: int) -> Iterator[Batch]:
        """Yield what one loader process contributes to every batch from `start_step` on."""
        ...


class LoaderProcesses:
    """The processes of one training worker.

    They are started by a fork server: a plain fork of a process with threads, as a Ray worker is,
    may hang.
    """

    def __init__(self, maker: PartMaker, *, num_workers: int) -> None:
        self._request = torch.zeros(3, dtype=torch.int64)  # epoch, phase, step
        self._request.share_memory_()  # type: ignore[no-untyped-call]  # torch has no types here
        self._num_workers = num_workers
        parts = _Parts(maker, self._request)
        self._loader: DataLoader[Batch | DamoYoloError] = DataLoader(
            parts,
            batch_size=None,
            num_workers=num_workers,
            persistent_workers=True,
            multiprocessing_context="forkserver",
        )

    def epoch(self, epoch: int, *, phase: Phase, start_step: int) -> Iterator[Batch]:
        """Yield the worker's batches, joined from the parts of its processes."""
        self._request.copy_(torch.tensor([epoch, PHASES.index(phase), start_step]))
        parts: list[Batch] = []
        for part in self._received():
            if isinstance(part, DamoYoloError):
                # Anew: a local exception and its traceback would keep the processes alive.
                raise type(part)(part.problem, fix=part.fix)
            parts.append(part)  # processes take turns
            if len(parts) == self._num_workers:
                yield join(parts)
                parts = []

    def _received(self) -> Iterator[Batch | DamoYoloError]:
        try:
            yield from self._loader
        except (EOFError, ConnectionError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                f"a loader process died: {error!r}",
                fix="give it more memory (also /dev/shm), or lower num_workers or window",
            ) from None


class _Parts(IterableDataset[Batch | DamoYoloError]):
    """What one loader process makes: its lanes' part of every batch."""

    def __init__(self, maker: PartMaker, request: torch.Tensor) -> None:
        self._maker, self._request = maker, request

    def __iter__(self) -> Iterator[Batch | DamoYoloError]:
        info = get_worker_info()
        assert info is not None
        epoch, phase, start_step = self._request.tolist()
        try:
            yield from self._maker.part(info.id, epoch, phase=PHASES[phase], start_step=start_step)
        except DamoYoloError as error:  # travels as a value: torch would turn it into text
            yield error
