"""Several public detection datasets in, one promoted real-time detector out.

Importing the package is free: the names below are looked up in their rooms when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from damo_yolo.models.reparam import fuse
    from damo_yolo.models.weights import load_weights
    from damo_yolo.models.zoo import build_detector

__version__ = "0.1.0"
__all__ = ["__version__", "build_detector", "fuse", "load_weights"]

_HOMES = {
    "build_detector": "damo_yolo.models.zoo",
    "fuse": "damo_yolo.models.reparam",
    "load_weights": "damo_yolo.models.weights",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'damo_yolo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
