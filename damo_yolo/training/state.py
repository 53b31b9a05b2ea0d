"""Everything a run needs to continue as if it had never stopped: bit for bit on CPU.

A checkpoint is one file, `state.pt`, so that writing it is atomic on every storage.
"""

import io
import pickle
import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from damo_yolo import storage
from damo_yolo.errors import TrainingError
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.ema import WeightAverage
from damo_yolo.training.ranks import gather_objects
from damo_yolo.training.seen import Quarantine, SampleOrder
from damo_yolo.training.step import StepLosses, TrainedModel
from damo_yolo.training.validation import Progress

FILE_NAME = "state.pt"


class Position(NamedTuple):
    """Where a run stands: the next step to take."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    """Over the whole run, 0-based."""

    def after_step(self, steps_per_epoch: int) -> Self:
        """Return the position one step later."""
        epoch, step_in_epoch = divmod(
            self.epoch * steps_per_epoch + self.step_in_epoch + 1, steps_per_epoch
        )
        return type(self)(epoch, step_in_epoch, self.step + 1)


@dataclass
class Meter:
    """Running mean of the losses of a stretch of steps, kept on the device."""

    total: Tensor = field(default_factory=lambda: torch.zeros(len(StepLosses._fields)))
    steps: int = 0

    def add(self, losses: StepLosses) -> None:
        """Count one step."""
        self.total = self.total.to(losses.total.device) + torch.stack(tuple(losses))
        self.steps += 1

    def mean(self) -> Tensor:
        """Return the mean of each loss, in the order of `StepLosses`."""
        return self.total / max(self.steps, 1)


@dataclass
class TrainState:
    """Raw and averaged weights, optimiser, align modules, position."""

    config: TrainConfig
    model: TrainedModel
    """Bare: never the data-parallel wrapper."""
    optimizer: Optimizer
    average: WeightAverage
    """Of the detector."""
    position: Position = field(default_factory=Position)
    seconds: float = 0.0
    """Time spent in steps so far, over all attempts."""
    window: Meter = field(default_factory=Meter)
    """Losses since the last logged line."""
    epoch_window: Meter = field(default_factory=Meter)
    """Losses since the start of the epoch."""
    samples: SampleOrder = field(default_factory=SampleOrder)
    quarantine: Quarantine = field(default_factory=Quarantine)
    best: Progress = field(default_factory=Progress)
    is_over: bool = False
    """True once no step follows, though the schedule may have more."""


def seed_everything(seed: int) -> None:
    """Seed what is not keyed by sample: the start weights, and whatever a library draws."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator of libraries
    torch.manual_seed(seed)


def save_state(state: TrainState, uri: str, *, run_key: str, is_writer: bool) -> None:
    """Write a checkpoint; every rank calls, one of them writes.

    Args:
        state: of this rank.
        uri: folder of the checkpoint.
        run_key: identifies configuration and data.
        is_writer: True on rank 0.
    """
    generators = gather_objects(_generator_states())
    state.samples.merge()
    state.quarantine.merge(state.config.max_broken_share)
    if not is_writer:
        return
    payload = {
        "run_key": run_key,
        "config": state.config.model_dump(mode="json"),
        "position": tuple(state.position),
        "seconds": state.seconds,
        "model": state.model.state_dict(),
        "average": dict(state.average.state_dict()),
        "optimizer": state.optimizer.state_dict(),
        "meters": [(meter.total, meter.steps) for meter in (state.window, state.epoch_window)],
        "generators": generators,
        "samples": state.samples.text,
        "broken": sorted(state.quarantine.keys),
        "best": vars(state.best),
        "is_over": state.is_over,
    }
    write_tensors(payload, storage.join(uri, FILE_NAME))


def load_state(state: TrainState, uri: str, *, run_key: str, rank: int) -> bool:
    """Continue from a checkpoint, if there is one; every rank calls.

    Returns:
        True when the state was taken over, False when there is no checkpoint.

    Raises:
        TrainingError: the checkpoint belongs to another configuration or other data.
    """
    location = storage.join(uri, FILE_NAME)
    if not storage.exists(location):
        return False
    payload = read_tensors(location)
    if payload["run_key"] != run_key:
        raise TrainingError(
            f"the checkpoint at {uri} belongs to another configuration or other data",
            fix="give this training a folder of its own, or remove the old one",
        )
    state.model.load_state_dict(payload["model"])
    state.average.load_state_dict(payload["average"])
    state.optimizer.load_state_dict(payload["optimizer"])
    state.position = Position(*payload["position"])
    state.seconds = payload["seconds"]
    state.window, state.epoch_window = (Meter(*values) for values in payload["meters"])
    state.samples = SampleOrder.of_text(payload["samples"])
    state.quarantine.keys = set(payload["broken"])
    state.best = Progress(**payload["best"])
    state.is_over = payload["is_over"]
    if rank < len(payload["generators"]):  # else: more workers than before, freshly seeded
        _restore_generators(payload["generators"][rank])
    return True


def write_tensors(payload: dict[str, Any], uri: str) -> None:
    """Write tensors and plain values as one file, atomically; equal content gives equal bytes."""
    buffer = io.BytesIO()  # a file name would become part of the content
    torch.save(payload, buffer)
    storage.write_bytes(uri, buffer.getvalue())


def read_tensors(uri: str) -> dict[str, Any]:
    """Read what `write_tensors` wrote, onto the CPU.

    Raises:
        TrainingError: the file is not one of tensors and plain values.
    """
    data = storage.read_bytes(uri)
    try:
        payload: dict[str, Any] = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=True
        )
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{uri} cannot be read: {str(error).splitlines()[0]}",
            fix="remove it: training continues from the start, or copy it again",
        ) from None
    return payload


def _generator_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_generators(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
