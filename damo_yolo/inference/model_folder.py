"""A trained model, read back from the folder that training wrote."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from damo_yolo import storage
from damo_yolo.inference.info import DetectorInfo

if TYPE_CHECKING:
    from damo_yolo.models.detector import Detector

MODEL_FILE = "model.pt"


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
        DamoYoloError: the file is none of training's, or its weights do not fit its config.
    """
    from damo_yolo.models.model_file import load_model_file

    file_uri = uri if Path(uri).suffix == ".pt" else storage.join(uri, MODEL_FILE)
    model = load_model_file(file_uri)
    info = DetectorInfo(
        model=model.name,
        image_size=model.image_size,
        class_names=model.class_names,
        label_space_sha256=model.label_space_sha256,
        score_threshold=model.config.score_threshold,
        iou_threshold=model.config.iou_threshold,
        manifest_sha256=model.manifest_sha256,
        code_version=model.code_version,
    )
    return LoadedModel(model.build(), info, file_uri)
