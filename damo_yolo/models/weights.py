"""Weights into a detector: published checkpoints, our model files, plain state dicts.

Every key of the source must have its place and every place its key; what does not fit is listed in
one error and nothing is loaded. Rows of the class branch are matched by class name.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from damo_yolo import storage
from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError
from damo_yolo.models.class_rows import is_class_row, match_rows, num_class_rows
from damo_yolo.models.detector import Detector
from damo_yolo.models.published import PUBLISHED_CLASSES

State = dict[str, Tensor]


class LoadReport(Config):
    """What `load_weights` did with the class rows; everything else was loaded one to one."""

    num_tensors: int
    kept_classes: tuple[str, ...] = ()
    """Classes whose rows came from the source; empty when rows were not matched by name."""
    new_classes: tuple[str, ...] = ()
    """Classes the source does not know; their rows are initialised as in a fresh head."""
    dropped_classes: tuple[str, ...] = ()
    """Classes of the source that the detector does not have."""


def load_weights(
    detector: Detector,
    source: str | Path | Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    source_class_names: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
) -> LoadReport:
    """Load weights into a detector in place.

    Args:
        detector: not wrapped; its state-dict keys are the published ones.
        source: location of a checkpoint, or a mapping: a state dict, or one under the key 'model'
            beside anything else (optimiser, epoch). A 'module.' before every key is removed.
        class_names: names of the detector's classes, in order. When given, rows of the class branch
            are matched by name; when not, the source must have as many classes.
        source_class_names: names of the source's classes; None takes them from the source, and the
            COCO names for 80 classes without names.
        generator: draws the rows of new classes; None is torch's global generator.

    Raises:
        DamoYoloError: a key is missing, unexpected or mis-shaped (all are listed), class names are
            not unique or do not fit, or the checkpoint cannot be read.
        StorageError: nothing is at the location.
    """
    checkpoint = source if isinstance(source, Mapping) else read_checkpoint(str(source))
    where = "the mapping" if isinstance(source, Mapping) else str(source)
    state = extract_state(checkpoint, source=where)
    report = LoadReport(num_tensors=len(state))
    if class_names is None:
        _check_same_width(detector, state, source=where)
    else:
        names = source_class_names or source_classes(checkpoint, state)
        matched = match_rows(
            state,
            old_names=names,
            new_names=class_names,
            class_prior=detector.config.class_prior,
            generator=generator,
        )
        state = matched.state
        report = LoadReport(
            num_tensors=len(state),
            kept_classes=matched.kept,
            new_classes=matched.new,
            dropped_classes=matched.dropped,
        )
    _check_fit(detector, state, source=where)
    detector.load_state_dict(state)
    return report


def read_checkpoint(uri: str) -> Mapping[str, Any]:
    """Return what a checkpoint holds, read so that it cannot run code.

    Raises:
        DamoYoloError: the file is no checkpoint, is damaged, or holds Python objects.
        StorageError: nothing is at the location.
    """
    data = storage.read_bytes(uri)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise DamoYoloError(
            f"{uri} is not a checkpoint that can be read safely: {reason}",
            fix="save it again as torch.save({'model': model.state_dict()}, path)",
        ) from None
    if not isinstance(content, Mapping):
        raise DamoYoloError(
            f"{uri} holds a {type(content).__name__}, not a mapping of weights",
            fix="save it again as torch.save({'model': model.state_dict()}, path)",
        )
    return content


def extract_state(checkpoint: Mapping[str, Any], *, source: str = "the checkpoint") -> State:
    """Return the state dict inside a checkpoint, its keys without 'module.'."""
    inner = checkpoint.get("model", checkpoint)
    if not isinstance(inner, Mapping) or not inner:
        raise DamoYoloError(
            f"{source} holds no weights", fix="give a state dict, or one under the key 'model'"
        )
    strangers = [str(key) for key, value in inner.items() if not isinstance(value, Tensor)]
    if strangers:
        raise DamoYoloError(
            f"{source} holds entries that are no tensors: {', '.join(strangers)}",
            fix="give a state dict, or one under the key 'model'",
        )
    state = {str(key): value for key, value in inner.items()}
    while all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def source_classes(checkpoint: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the class names of a checkpoint: its own, or COCO's for 80 rows without names."""
    names = checkpoint.get("class_names")
    if names:
        return tuple(str(name) for name in names)
    if num_class_rows(state) == len(PUBLISHED_CLASSES):
        return PUBLISHED_CLASSES
    raise DamoYoloError(
        f"the weights have {num_class_rows(state)} classes and do not say which",
        fix="give source_class_names, one name per class, in order",
    )


def _check_same_width(detector: Detector, state: State, *, source: str) -> None:
    width = num_class_rows(state)
    if width not in (0, detector.config.num_classes):  # 0: no class branch, listed as missing later
        raise DamoYoloError(
            f"{source} has {width} classes, the detector {detector.config.num_classes}",
            fix="give class_names, so that rows of the same classes can be kept",
        )


def _check_fit(detector: Detector, state: State, *, source: str) -> None:
    places = detector.state_dict()
    missing = [key for key in places if key not in state]
    unexpected = [key for key in state if key not in places]
    misshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(place.shape)}"
        for key, place in places.items()
        if key in state and state[key].shape != place.shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
        )
        if names
    ]
    if not problems:
        return
    fix = "use weights of the same size of detector; `damo-yolo models` lists the sizes"
    if any(".rbr_reparam." in key for key in unexpected):
        fix = "use the weights in their training form: branches once fused cannot be told apart"
    elif misshaped and all(is_class_row(key.split(" ")[0]) for key in misshaped):
        fix = "give class_names as many as the detector has classes"
    raise DamoYoloError(f"{source} does not fit the detector: {'; '.join(problems)}", fix=fix)


def _numpy_scalars() -> list[Any]:
    # Optimisers store learning rates; some were numpy scalars. Old and new module names.
    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "bool")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, *kinds]
