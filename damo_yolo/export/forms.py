"""The forms a detector is deployed in: which there are, what they are called, how to build them."""

import copy
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.artifacts import Kind, Precision
from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError
from damo_yolo.export.onnx import GraphConfig, export_onnx
from damo_yolo.export.openvino import QuantizeConfig, export_openvino, export_openvino_int8
from damo_yolo.export.quantize_onnx import quantize_onnx
from damo_yolo.export.tensorrt import CAPABILITIES, Package, build_engine
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.tensorrt_runtime import PACKAGES, import_tensorrt
from damo_yolo.models.detector import Detector
from damo_yolo.models.reparam import fuse

Format = str
"""A key of `FORMS`."""

FORMS: Mapping[Format, tuple[Kind, Precision]] = {
    "onnx": ("onnx", "fp32"),
    "onnx-fp16": ("onnx", "fp16"),
    "onnx-int8": ("onnx", "int8"),
    "openvino-fp32": ("openvino", "fp32"),
    "openvino-fp16": ("openvino", "fp16"),
    "openvino-int8": ("openvino", "int8"),
    "tensorrt": ("tensorrt", "fp16"),  # whichever package is installed
    "tensorrt-fp32": ("tensorrt", "fp32"),
    "tensorrt-fp16": ("tensorrt", "fp16"),
    "tensorrt-int8": ("tensorrt", "int8"),
    "tensorrt-rtx-fp32": ("tensorrt-rtx", "fp32"),
    "tensorrt-rtx-fp16": ("tensorrt-rtx", "fp16"),
    "tensorrt-rtx-int8": ("tensorrt-rtx", "int8"),
}
"""Every form there is: its kind and precision."""

FORMATS: tuple[Format, ...] = ("onnx", "openvino-fp16", "openvino-int8", "tensorrt")
"""What a pipeline exports."""

logger = logging.getLogger(__name__)

LoadImages = Callable[[int], Sequence[NDArray[np.uint8]]]
"""Number of images to (3, S, S) RGB training images; called when INT8 is asked for."""


class FormConfig(Config):
    """How the forms are built."""

    graph: GraphConfig = GraphConfig()
    """What the graphs hold beside the detector."""
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
        self._full: tuple[Path, DetectorInfo] | None = None

    def build(self, name: Format) -> Form:
        kind, precision = FORMS[name]
        makers: dict[str, Callable[[Format, Precision], Form]] = {
            "onnx": self._onnx_form,
            "openvino": self._openvino_form,
            "tensorrt": self._engine_form,
            "tensorrt-rtx": self._engine_form,
        }
        try:
            form = makers[kind](name, precision)
        except DamoYoloError as error:
            logger.warning("%s was not built: %s", name, error.problem)
            note = f"{error.problem}; {error.fix}"
            return Form(name, kind, precision, None, runs_here=False, note=note)
        logger.info("built %s", name)
        return form

    def _onnx_form(self, name: Format, precision: Precision) -> Form:
        suffix = "" if precision == "fp32" else f"_{precision}"
        path = self._folder / f"{self._info.model}{suffix}.onnx"
        note = self._write_onnx(precision, path)[1]
        return Form(name, "onnx", precision, path, runs_here=True, note=note)

    def _openvino_form(self, name: Format, precision: Precision) -> Form:
        path = self._folder / f"{self._info.model}_{precision}.xml"
        source, info = self._onnx()
        note = ""
        if precision == "int8":
            images = self._images()
            export_openvino_int8(source, info, path, images, self._config.quantize)
            note = _calibrated_on(images)
        else:
            export_openvino(source, info, path, precision=precision)
        return Form(name, "openvino", precision, path, runs_here=True, note=note)

    def _engine_form(self, name: Format, precision: Precision) -> Form:
        kind = FORMS[name][0]
        package: Package | None = None
        if name != "tensorrt":
            package = "tensorrt-rtx" if kind == "tensorrt-rtx" else "tensorrt"
        import_tensorrt([package.replace("-", "_")] if package else PACKAGES)  # often missing
        source = self._scratch / f"{precision}.onnx"
        info, note = self._write_onnx(precision, source)
        path = self._folder / f"{self._info.model}_{name.removesuffix(f'-{precision}')}"
        path = path.with_name(f"{path.name.replace('tensorrt', 'trt')}_{precision}.engine")
        engine = build_engine(
            source, info, path, capabilities=self._config.capabilities, package=package
        )
        notes = [engine.note, note, "not run: it needs its GPU"]
        note = "; ".join(part for part in notes if part)
        return Form(name, engine.kind, precision, path, runs_here=False, note=note)

    def _write_onnx(self, precision: Precision, path: Path) -> tuple[DetectorInfo, str]:
        """Write the ONNX file of a precision, and return what it says of itself and a note."""
        source, info = self._onnx()
        if precision == "fp32":
            path.write_bytes(source.read_bytes())
            return info, ""
        if precision == "fp16":
            half = copy.deepcopy(self._fused).half()
            return export_onnx(half, self._info, path, self._config.graph), ""
        images = self._images()
        return quantize_onnx(source, info, path, images), _calibrated_on(images)

    def _images(self) -> Sequence[NDArray[np.uint8]]:
        return self._load_images(self._config.quantize.num_images)

    def _onnx(self) -> tuple[Path, DetectorInfo]:
        if self._full is None:
            path = self._scratch / "full.onnx"
            self._full = path, export_onnx(self._fused, self._info, path, self._config.graph)
        return self._full


def _calibrated_on(images: Sequence[NDArray[np.uint8]]) -> str:
    return f"ranges measured on {len(images)} training images"
