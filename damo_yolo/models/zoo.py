"""The published sizes: their configs, and detectors built from them."""

from functools import cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from damo_yolo import storage
from damo_yolo.errors import ConfigError
from damo_yolo.models.config import DetectorConfig, load_structure
from damo_yolo.models.cost import measure_cost
from damo_yolo.models.detector import Detector
from damo_yolo.models.published import PUBLISHED_AP

_LARGE: dict[str, Any] = {"image_size": 640, "score_threshold": 0.05, "iou_threshold": 0.7}
_NANO: dict[str, Any] = {
    "neck_num_blocks": 2,
    "neck_depthwise": True,
    "activation": "silu",
    "head_kernel_size": 1,
    "reg_max": 7,
    "image_size": 416,
    "score_threshold": 0.03,
    "iou_threshold": 0.65,
}
_SIZES: dict[str, dict[str, Any]] = {
    "t": _LARGE | {"neck_channels": (64, 128, 256), "neck_num_blocks": 3, "activation": "relu"},
    "s": _LARGE
    | {
        "neck_channels": (128, 256, 512),
        "neck_num_blocks": 3,
        "neck_hidden_ratio": 0.75,
        "activation": "relu",
    },
    "m": _LARGE | {"neck_channels": (128, 256, 512), "neck_num_blocks": 4, "activation": "silu"},
    "l": _LARGE | {"neck_channels": (128, 256, 512), "neck_num_blocks": 6, "activation": "silu"},
    "ns": _NANO | {"neck_channels": (40, 80, 160)},
    "nm": _NANO | {"neck_channels": (64, 128, 256)},
    "nl": _NANO | {"neck_channels": (80, 160, 320)},
}
_PREFIX = "damo-yolo-"

MODEL_NAMES = tuple(_PREFIX + size for size in _SIZES)


def detector_config(name: str) -> DetectorConfig:
    """Return the config of a published size, e.g. `damo-yolo-ns`, or of a detector file.

    Args:
        name: of a size, case does not matter; or the location of a `.json` with the fields of
            `DetectorConfig`, as `damo-yolo search` writes it.

    Raises:
        ConfigError: no size has this name, or the file does not describe a detector.
        StorageError: nothing is at the location.
    """
    if is_detector_file(name):
        return DetectorConfig.from_yaml(storage.read_text(name), source=name)  # JSON is YAML
    return _published_config(name)


def is_detector_file(name: str) -> bool:
    """Tell whether the name of a detector is the location of its file."""
    return name.endswith(".json")


def short_name(name: str) -> str:
    """Return what a detector is called in file names and tables: its size, or its file's stem."""
    return PurePosixPath(name).stem if is_detector_file(name) else name


def is_detector(name: str) -> bool:
    """Tell whether a name can be built: a published size, or the location of a detector file."""
    return name in MODEL_NAMES or is_detector_file(name)


@cache
def _published_config(name: str) -> DetectorConfig:
    size = name.lower().removeprefix(_PREFIX)
    if size not in _SIZES:
        raise ConfigError(
            f"no detector is called {name!r}",
            fix=f"use one of: {', '.join(MODEL_NAMES)}, or a detector file, .json",
        )
    return DetectorConfig.from_mapping(
        {"backbone": load_structure(size), **_SIZES[size]}, source=name
    )


def build_detector(
    name_or_config: str | DetectorConfig, num_classes: int | None = None, **overrides: Any
) -> Detector:
    """Build a detector with fresh weights, drawn from torch's global generator.

    Args:
        name_or_config: one of `MODEL_NAMES`, the location of a detector file, or a config.
        num_classes: width of the class branch; None keeps the config's (80 for the named sizes).
        **overrides: fields of `DetectorConfig`, e.g. `bn_momentum=0.1`, `activation="relu"`.

    Raises:
        ConfigError: the name is unknown, or an override does not fit.
    """
    config = detector_config(name_or_config) if isinstance(name_or_config, str) else name_or_config
    if num_classes is not None:
        overrides["num_classes"] = num_classes
    if overrides:
        values = config.model_dump() | overrides
        config = DetectorConfig.from_mapping(values, source="the detector's settings")
    return Detector(config)


class ModelRow(NamedTuple):
    """A published size at a glance."""

    name: str
    params_m: float
    """Millions, RepConv branches fused and batch norms kept, as the authors count; 80 classes."""
    gflops: float
    """Of one image of `input_size`, same form: two operations per multiply-add of a convolution."""
    published_ap: float
    """COCO AP in percent that the authors report without distillation."""
    published_ap_distilled: float | None
    input_size: int
    """Side of the square input, pixels."""


def model_table() -> list[ModelRow]:
    """Return one row per named size: its cost counted here, its accuracy as published."""
    rows = []
    for name in MODEL_NAMES:
        config = detector_config(name)
        cost = measure_cost(config)
        rows.append(
            ModelRow(
                name=name,
                params_m=round(cost.params_m, 3),
                gflops=round(cost.gflops, 3),
                published_ap=PUBLISHED_AP[name].plain,
                published_ap_distilled=PUBLISHED_AP[name].distilled,
                input_size=config.image_size,
            )
        )
    return rows
