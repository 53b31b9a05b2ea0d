"""The forms a detector is deployed in: which there are, what they are called, how to build them."""

import copy
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.artifacts import Kind, Precision
from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError
from damo_yolo.export.onnx import export_onnx
from damo_yolo.export.openvino import QuantizeConfig, export_openvino, export_openvino_int8
from damo_yolo.export.tensorrt import CAPABILITIES, build_engine, import_tensorrt
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse

Format = Literal["onnx", "openvino-fp16", "openvino-int8", "tensorrt"]

FORMATS: tuple[Format, ...] = ("onnx", "openvino-fp16", "openvino-int8", "tensorrt")

logger = logging.getLogger(__name__)

LoadImages = Callable[[int], Sequence[NDArray[np.uint8]]]
"""Number of images to (3, S, S) RGB training images; called when INT8 is asked for."""


class FormConfig(Config):
    """How the forms are built."""

    dynamic_batch: bool = False
    """True: any number of images at once; False: one, which runs fastest."""
    quantize: QuantizeConfig = Field(default_factory=QuantizeConfig)
    capabilities: tuple[str, ...] = CAPABILITIES
    """GPU generations of an engine that `tensorrt-rtx` builds ahead of time."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the detector, built or not."""

    name: Format
    kind: Kind
    precision: Precision
    path: Path | None
    """The file to open; None where it could not be built."""
    runs_here: bool
    note: str = ""

    @property
    def files(self) -> list[Path]:
        """Return the file and its companions, in name order after the file itself."""
        if self.path is None:
            return []
        beside = self.path.parent.glob(f"{self.path.stem}.*")
        return [self.path, *sorted(path for path in beside if path != self.path)]


def build_forms(
    detector: Detector,
    info: DetectorInfo,
    formats: Sequence[Format],
    folder: Path,
    *,
    load_images: LoadImages,
    config: FormConfig,
) -> list[Form]:
    """Build the forms asked for; one that cannot be built says why and stops no other.

    Args:
        detector: as trained; it is fused here.
        info: what each file says of itself.
        formats: which forms.
        folder: where the files go.
        load_images: gives training images.
        config: how they are built.
    """
    fused = fuse(detector)
    with tempfile.TemporaryDirectory() as scratch:
        builder = _Builder(fused, info, folder, Path(scratch), load_images, config)
        return [builder.build(name) for name in formats]


class _Builder:
    """What the forms share: the fused detector and its ONNX file."""

    def __init__(
        self,
        fused: Detector,
        info: DetectorInfo,
        folder: Path,
        scratch: Path,
        load_images: LoadImages,
        config: FormConfig,
    ) -> None:
        self._fused, self._info, self._folder, self._scratch = fused, info, folder, scratch
        self._load_images, self._config = load_images, config
        self._onnx_path: Path | None = None

    def build(self, name: Format) -> Form:
        makers: dict[Format, tuple[Kind, Precision, Callable[[], Form]]] = {
            "onnx": ("onnx", "fp32", self._onnx_form),
            "openvino-fp16": ("openvino", "fp16", self._openvino_form),
            "openvino-int8": ("openvino", "int8", self._int8_form),
            "tensorrt": ("tensorrt", "fp16", self._engine_form),
        }
        kind, precision, make = makers[name]
        try:
            form = make()
        except DamoYoloError as error:
            logger.warning("%s was not built: %s", name, error.problem)
            return Form(name, kind, precision, None, runs_here=False, note=error.problem)
        logger.info("built %s", name)
        return form

    def _onnx_form(self) -> Form:
        path = self._folder / f"{self._info.model}.onnx"
        path.write_bytes(self._onnx().read_bytes())
        return Form("onnx", "onnx", "fp32", path, runs_here=True)

    def _openvino_form(self) -> Form:
        path = self._folder / f"{self._info.model}_fp16.xml"
        export_openvino(self._onnx(), self._info, path)
        return Form("openvino-fp16", "openvino", "fp16", path, runs_here=True)

    def _int8_form(self) -> Form:
        path = self._folder / f"{self._info.model}_int8.xml"
        quantize = self._config.quantize
        images = self._load_images(quantize.num_images)
        export_openvino_int8(self._onnx(), self._info, path, images, quantize)
        note = f"ranges measured on {len(images)} training images"
        return Form("openvino-int8", "openvino", "int8", path, runs_here=True, note=note)

    def _engine_form(self) -> Form:
        import_tensorrt()  # before the work, as it is often missing
        half = self._scratch / "half.onnx"
        info = export_onnx(copy.deepcopy(self._fused).half(), self._info, half)
        path = self._folder / f"{self._info.model}_trt_fp16.engine"
        engine = build_engine(half, info, path, capabilities=self._config.capabilities)
        note = f"{engine.note}; not run: it needs its GPU"
        return Form("tensorrt", engine.kind, "fp16", path, runs_here=False, note=note)

    def _onnx(self) -> Path:
        if self._onnx_path is None:
            path = self._scratch / "full.onnx"
            export_onnx(self._fused, self._info, path, dynamic_batch=self._config.dynamic_batch)
            self._onnx_path = path
        return self._onnx_path
