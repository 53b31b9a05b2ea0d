"""A step whose loss is not finite: told on every rank, kept in a file, computed again from it."""

from typing import Any

import torch
from torch import Tensor

from damo_yolo.config import Config
from damo_yolo.errors import TrainingError
from damo_yolo.losses.detection import DetectionLoss
from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.detector import Detector
from damo_yolo.training.config import TrainConfig
from damo_yolo.training.ranks import gather_objects
from damo_yolo.training.state import read_tensors
from damo_yolo.training.step import StepLosses, TrainedModel, split

FIELDS = {"step", "keys", "losses", "config", "detector", "model", "batch"}


class ReproducedStep(Config):
    """What a kept step gives when it is computed again."""

    step: int
    keys: tuple[str, ...]
    """Images of the batch."""
    losses: dict[str, float]
    """Of the batch now; without the teacher's part."""
    losses_then: dict[str, float]
    suspects: tuple[str, ...]
    """Images that alone give a loss which is not finite; empty where none does."""
    first_bad_module: str
    """In whose output the first number that is not finite appears; empty where all are."""
    bad_gradients: tuple[str, ...]
    """Parameters whose gradient is not finite."""


def failure_payload(
    model: TrainedModel, batch: Any, losses: StepLosses, **facts: Any
) -> dict[str, Any]:
    """Return all that computes a step again: weights before it, batch, configuration.

    Args:
        model: bare.
        batch: as the loader made it.
        losses: of the step.
        facts: further plain values; `step` and `config` are needed.
    """
    return {
        "keys": list(batch.keys),
        "losses": {name: float(value) for name, value in losses._asdict().items()},
        "detector": model.detector.config.model_dump(mode="json"),
        "model": model.detector.state_dict(),
        "batch": list(split(batch, 1)[0]),
        **facts,
    }


def raise_not_finite(step: int, keys: tuple[str, ...], *, is_finite: bool, save: Any) -> None:
    """Raise on every rank alike: averaged gradients are not finite on any of them.

    Args:
        step: that failed.
        keys: images of this rank.
        is_finite: whether this rank's own loss is.
        save: writes what reproduces the step on this rank, and returns where.
    """
    everywhere = gather_objects(is_finite)
    is_suspect = not is_finite or all(everywhere)  # finite losses, infinite gradient: all are
    saved = save() if is_suspect else ""
    found = [item for item in gather_objects((keys, saved)) if item[1]]
    images = ", ".join(key for names, _ in found for key in names)
    files = ", ".join(uri for _, uri in found)
    raise TrainingError(
        f"the loss of step {step} is not finite, with the images {images}",
        fix="lower optimizer.lr_per_image, or see which image and layer it is: "
        f"damo-yolo train --reproduce {found[0][1]}" + (f" (all: {files})" if found[1:] else ""),
    )


def reproduce_step(uri: str) -> ReproducedStep:
    """Compute a failed step again, on the CPU, and look for where it breaks.

    Args:
        uri: file that a training left in `failures/`.

    Raises:
        TrainingError: the file is none of those.
        StorageError: nothing is there.
    """
    payload = read_tensors(uri)
    if not payload.keys() >= FIELDS:
        raise TrainingError(
            f"{uri} holds no failed step", fix="give a file of a training's folder failures/"
        )
    config = TrainConfig.from_mapping(payload["config"], source=uri)
    detector = Detector(DetectorConfig.from_mapping(payload["detector"], source=uri))
    detector.load_state_dict(payload["model"])
    model = TrainedModel(detector, DetectionLoss(config.loss)).train()
    images, *rest = payload["batch"]
    part = [images.float(), *rest]
    bad_modules: list[str] = []
    hooks = [
        module.register_forward_hook(_watch(name, bad_modules))
        for name, module in detector.named_modules()
        if name and not list(module.children())
    ]
    losses: StepLosses = model(part, None, 0.0, torch.float32)
    torch.autograd.backward(losses.total)
    for hook in hooks:
        hook.remove()
    bad_gradients = [
        name
        for name, parameter in detector.named_parameters()
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    ]
    return ReproducedStep(
        step=payload["step"],
        keys=tuple(payload["keys"]),
        losses={name: float(value.detach()) for name, value in losses._asdict().items()},
        losses_then=payload["losses"],
        suspects=tuple(_suspects(model, part, payload["keys"])),
        first_bad_module=bad_modules[0] if bad_modules else "",
        bad_gradients=tuple(bad_gradients),
    )


def _watch(name: str, found: list[str]) -> Any:
    def look(_module: object, _inputs: object, output: Any) -> None:
        values = [output] if isinstance(output, Tensor) else []
        if any(not torch.isfinite(value).all() for value in values):
            found.append(name)

    return look


@torch.no_grad()
def _suspects(model: TrainedModel, part: list[Tensor | None], keys: list[str]) -> list[str]:
    """Return the images whose loss alone is not finite; batch norm sees one image, then."""
    suspects = []
    for row, key in enumerate(keys):
        single = [None if value is None else value[row : row + 1] for value in part]
        if not torch.isfinite(model(single, None, 0.0, torch.float32).total):
            suspects.append(key)
    return suspects
