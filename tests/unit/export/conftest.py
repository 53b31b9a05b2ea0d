"""One calibrated detector and its ONNX file for all tests: exporting takes seconds."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from damo_yolo.export.onnx import export_onnx
from damo_yolo.inference.backends import TorchBackend
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse
from tests.detector_builders import NAMES, SIDE, calibrated_detector


@dataclass(frozen=True)
class Exported:
    """A detector and its ONNX file."""

    detector: Detector
    fused: Detector
    info: DetectorInfo
    onnx_path: Path

    @property
    def reference(self) -> TorchBackend:
        """Return the detector as trained."""
        return TorchBackend(self.detector, self.info, threads=1)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    detector = calibrated_detector()
    info = DetectorInfo(
        model="damo-yolo-ns",
        image_size=SIDE,
        class_names=NAMES,
        label_space_sha256="ab" * 32,
        score_threshold=0.03,
        iou_threshold=0.65,
    )
    fused = fuse(detector)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    info = export_onnx(fused, info, path)
    return Exported(detector, fused, info, path)
