"""The published sizes: their configs, and detectors built from them."""

from functools import cache
from typing import Any

from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.models.config import DetectorConfig, load_structure
from damo_yolo.models.detector import Detector

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


class PublishedAp(Config):
    """COCO AP in percent, validation split, as the authors report it."""

    plain: float
    distilled: float | None = None


PUBLISHED_AP = {
    "damo-yolo-t": PublishedAp(plain=42.0, distilled=43.6),
    "damo-yolo-s": PublishedAp(plain=46.0, distilled=47.7),
    "damo-yolo-m": PublishedAp(plain=49.2, distilled=50.2),
    "damo-yolo-l": PublishedAp(plain=50.8, distilled=51.9),
    "damo-yolo-ns": PublishedAp(plain=32.3),
    "damo-yolo-nm": PublishedAp(plain=38.2),
    "damo-yolo-nl": PublishedAp(plain=40.5),
}


@cache
def detector_config(name: str) -> DetectorConfig:
    """Return the config of a published size, e.g. `damo-yolo-ns`; case does not matter.

    Raises:
        ConfigError: no size has this name.
    """
    size = name.lower().removeprefix(_PREFIX)
    if size not in _SIZES:
        raise ConfigError(
            f"no detector is called {name!r}", fix=f"use one of: {', '.join(MODEL_NAMES)}"
        )
    return DetectorConfig.from_mapping(
        {"backbone": load_structure(size), **_SIZES[size]}, source=name
    )


def build_detector(
    name_or_config: str | DetectorConfig, num_classes: int | None = None, **overrides: Any
) -> Detector:
    """Build a detector with fresh weights, drawn from torch's global generator.

    Args:
        name_or_config: one of `MODEL_NAMES`, or a config.
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
