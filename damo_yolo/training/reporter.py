"""What the loop asks of its surroundings: batches, and somebody to tell and to ask."""

from collections.abc import Iterator
from typing import Any, Protocol

from damo_yolo.errors import TrainingError
from damo_yolo.samples import Batch
from damo_yolo.training.schedule import Phase
from damo_yolo.training.state import TrainState

GO_ON, FINISH, PAUSE = range(3)
"""What a reporter may wish after a step: to go on, to end the run here, or to continue it later."""

Record = dict[str, Any]
"""One line of metrics: `kind` ("step" or "epoch"), `step` (updates done), numbers by name; the line
of an epoch also has `samples`, a fingerprint of every image of every step so far, `workers`, the
number of ranks that ended it, and `broken_images`, the names of all that cannot be decoded."""


class PausedError(TrainingError):
    """The run was asked to stop, and its state is saved."""


class Reporter(Protocol):
    """Where a loop tells of its progress. Every rank calls every method at the same steps.

    A Ray Train worker, a trial of Ray Tune and a plain process differ in their reporter only.
    """

    def wish(self) -> int:
        """Return `GO_ON`, `FINISH` or `PAUSE`; the strongest wish of all ranks counts."""

    def log(self, record: Record) -> None:
        """Take a line of metrics; equal on all ranks except for times."""

    def checkpoint(self, state: TrainState) -> None:
        """Keep the state."""

    def end_epoch(self, record: Record) -> None:
        """Take the line of a finished epoch, after its checkpoint."""

    def save_failure(self, payload: dict[str, Any], *, step: int) -> str:
        """Keep what reproduces a failed step, and return where it is."""


class Loader(Protocol):
    """Batches of one rank."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch, equal on all ranks."""

    def epoch(self, epoch: int, *, phase: Phase, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from `start_step` on."""
