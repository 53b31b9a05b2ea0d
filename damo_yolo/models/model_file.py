"""The model file a training leaves: weights with published keys, and all it takes to use them.

It loads without running code (`weights_only=True`), and the same content gives the same bytes.
`to_published` and `from_published` go between it and the form of the published checkpoints.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from damo_yolo import storage
from damo_yolo.errors import DamoYoloError
from damo_yolo.models.class_rows import match_rows
from damo_yolo.models.config import DetectorConfig
from damo_yolo.models.detector import Detector
from damo_yolo.models.published import PUBLISHED_CLASSES
from damo_yolo.models.weights import (
    extract_state,
    load_weights,
    read_checkpoint,
    source_classes,
)
from damo_yolo.models.zoo import detector_config

_TEXT_FIELDS = ("label_space_sha256", "manifest_sha256", "code_version")


@dataclass(frozen=True)
class ModelFile:
    """A trained detector and where it comes from."""

    state: Mapping[str, Tensor]
    """Published keys; the averaged weights of a training."""
    config: DetectorConfig
    name: str
    """Size, as in `damo-yolo-ns`."""
    class_names: tuple[str, ...]
    image_size: int
    """Side of the square input it was trained for, pixels."""
    label_space_sha256: str = ""
    manifest_sha256: str = ""
    """Of the shards it saw."""
    code_version: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further plain values a file holds; kept when it is saved again."""

    def build(self) -> Detector:
        """Return the detector in eval mode, on the CPU."""
        with torch.device("meta"):
            detector = Detector(self.config)
        detector.to_empty(device="cpu")
        load_weights(detector, dict(self.state))
        return detector.eval()

    @classmethod
    def of(cls, detector: Detector, *, name: str, class_names: Sequence[str], **rest: Any) -> Self:
        """Return the file of a detector; `rest` are further fields, `image_size` the config's."""
        rest.setdefault("image_size", detector.config.image_size)
        state = {key: value.detach().cpu() for key, value in detector.state_dict().items()}
        return cls(
            state=state,
            config=detector.config,
            name=name,
            class_names=tuple(class_names),
            **rest,
        )


def save_model_file(model: ModelFile, uri: str) -> None:
    """Write the file, atomically."""
    _check_names(model)
    content: dict[str, Any] = dict(model.extra)
    content["model"] = {key: _plain(value) for key, value in model.state.items()}
    content["config"] = model.config.model_dump(mode="json")
    content["name"] = model.name
    content["class_names"] = list(model.class_names)
    content["image_size"] = model.image_size
    for name in _TEXT_FIELDS:
        content[name] = getattr(model, name)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    storage.write_bytes(uri, buffer.getvalue())


def load_model_file(uri: str) -> ModelFile:
    """Read a model file.

    Raises:
        DamoYoloError: the file is damaged or is a checkpoint of another kind.
        StorageError: nothing is at the location.
    """
    content = dict(read_checkpoint(uri))
    needed = ("model", "config", "name", "class_names", "image_size")
    missing = [name for name in needed if name not in content]
    if missing:
        raise DamoYoloError(
            f"{uri} is no model file: it has no {', '.join(missing)}",
            fix="give the model.pt of a training, or convert the published checkpoint first",
        )
    state = extract_state(content, source=uri)
    config = DetectorConfig.from_mapping(content["config"], source=uri)
    texts = {name: str(content.pop(name, "")) for name in _TEXT_FIELDS}
    model = ModelFile(
        state=state,
        config=config,
        name=str(content["name"]),
        class_names=tuple(content["class_names"]),
        image_size=int(content["image_size"]),
        extra={key: value for key, value in content.items() if key not in needed},
        **texts,
    )
    _check_names(model)
    return model


def from_published(uri: str, *, name: str, class_names: Sequence[str] | None = None) -> ModelFile:
    """Read a published checkpoint as a model file.

    Args:
        uri: the checkpoint; optimiser and other entries are dropped.
        name: which size it is, e.g. `damo-yolo-s`.
        class_names: of its rows; None means COCO's for 80 rows, else it is an error.

    Raises:
        DamoYoloError: the weights do not fit the size, or the class names the weights.
    """
    checkpoint = read_checkpoint(uri)
    state = extract_state(checkpoint, source=uri)
    names = tuple(class_names or source_classes(checkpoint, state))
    values = detector_config(name).model_dump() | {"num_classes": len(names)}
    config = DetectorConfig.from_mapping(values, source=name)
    model = ModelFile(
        state=state, config=config, name=name, class_names=names, image_size=config.image_size
    )
    model.build()  # every key has its place, or an error says which has not
    return model


def to_published(model: ModelFile) -> dict[str, dict[str, Tensor]]:
    """Return what the published code loads; COCO classes in its order, others in their own."""
    state = dict(model.state)
    if sorted(model.class_names) == sorted(PUBLISHED_CLASSES):
        state = match_rows(
            state,
            old_names=model.class_names,
            new_names=PUBLISHED_CLASSES,
            class_prior=model.config.class_prior,
        ).state
    return {"model": {key: _plain(value) for key, value in state.items()}}


def convert_from_published(
    uri: str, out_uri: str, *, name: str, class_names: Sequence[str] | None = None
) -> ModelFile:
    """Write a published checkpoint as a model file; see `from_published`."""
    model = from_published(uri, name=name, class_names=class_names)
    save_model_file(model, out_uri)
    return model


def convert_to_published(uri: str, out_uri: str) -> ModelFile:
    """Write a model file as a checkpoint that the published code loads."""
    model = load_model_file(uri)
    buffer = io.BytesIO()
    torch.save(to_published(model), buffer)
    storage.write_bytes(out_uri, buffer.getvalue())
    return model


def _plain(tensor: Tensor) -> Tensor:
    """Return a copy with memory of its own in row-major order, so that bytes depend on values."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _check_names(model: ModelFile) -> None:
    if len(model.class_names) != model.config.num_classes:
        raise DamoYoloError(
            f"the model has {model.config.num_classes} classes and {len(model.class_names)} names",
            fix="give one name per class",
        )
