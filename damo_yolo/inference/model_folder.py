"""A trained model, read back from the folder that training wrote."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from damo_yolo import storage
from damo_yolo.errors import DataError
from damo_yolo.inference.info import DetectorInfo

if TYPE_CHECKING:
    from damo_yolo.models.detector import Detector

MODEL_FILE = "model.pt"
FIELDS = ("model", "config", "name", "class_names", "image_size", "label_space_sha256")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A detector with the trained weights, in eval mode, and what is to be known of it."""

    detector: "Detector"
    info: DetectorInfo
    uri: str
    """Of the file itself."""


def load_model(uri: str) -> LoadedModel:
    """Load a model folder, or its `model.pt`.

    Raises:
        StorageError: nothing is at the location.
        DataError: the file is none of training's, or its weights do not fit its config.
    """
    from damo_yolo.models.config import DetectorConfig
    from damo_yolo.models.zoo import build_detector

    file_uri = uri if Path(uri).suffix == ".pt" else storage.join(uri, MODEL_FILE)
    saved = _read(file_uri)
    config = DetectorConfig.from_mapping(saved["config"], source=file_uri)
    names = tuple(saved["class_names"])
    detector = build_detector(config, num_classes=len(names))
    try:
        detector.load_state_dict(saved["model"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"the weights in {file_uri} do not fit its config: {reason}",
            fix="train the model again",
        ) from None
    info = DetectorInfo(
        model=saved["name"],
        image_size=saved["image_size"],
        class_names=names,
        label_space_sha256=saved["label_space_sha256"],
        score_threshold=config.score_threshold,
        iou_threshold=config.iou_threshold,
        manifest_sha256=saved.get("manifest_sha256", ""),
        code_version=saved.get("code_version", ""),
    )
    return LoadedModel(detector.eval(), info, file_uri)


def _read(uri: str) -> dict[str, Any]:
    import torch

    data = storage.read_bytes(uri)
    try:
        saved = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{uri} is no model file: {reason}", fix="give a model folder") from None
    missing = [name for name in FIELDS if not isinstance(saved, dict) or name not in saved]
    if missing:
        raise DataError(
            f"{uri} lacks {', '.join(missing)}", fix="give a folder written by `damo-yolo train`"
        )
    return dict(saved)
