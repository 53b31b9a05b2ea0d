"""The forms of a model held against it: what runs is attested, what loses too much is mended."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo.config import Config
from damo_yolo.errors import DamoYoloError
from damo_yolo.evaluation.ground_truth import ValidationSet
from damo_yolo.export.accuracy import AccuracyConfig, Budget, export_with_accuracy_control
from damo_yolo.export.attest import (
    REFERENCE,
    Attestation,
    AttestConfig,
    attest,
    headline_ap,
    headline_images,
)
from damo_yolo.export.forms import Form, FormConfig, LoadImages
from damo_yolo.export.onnx import export_onnx
from damo_yolo.export.sensitivity import LayerSensitivity, layer_sensitivity
from damo_yolo.export.taps import (
    SUMMARY,
    TOLERANCES,
    Taps,
    compare,
    file_taps,
    find_departure,
    torch_taps,
)
from damo_yolo.inference.backend import Backend
from damo_yolo.inference.backends import TorchBackend, open_backend
from damo_yolo.inference.model_folder import LoadedModel
from damo_yolo.models.reparam import fuse

INT8 = "openvino-int8"

logger = logging.getLogger(__name__)


class ExportConfig(Config):
    """How a model is exported."""

    form: FormConfig = Field(default_factory=FormConfig)
    attest: AttestConfig = Field(default_factory=AttestConfig)
    accuracy: AccuracyConfig | None = AccuracyConfig()
    """What happens where OpenVINO's INT8 loses more AP than it may; None: nothing."""
    seed: int = 0
    """Of the choice of calibration images."""


@dataclass(slots=True)
class Comparison:
    """What was found of the forms."""

    attestations: dict[str, Attestation] = field(default_factory=dict)
    """By format, those that ran; the reference among them."""
    notes: dict[str, str] = field(default_factory=dict)
    """By format, why it did not run, or what was done to it."""
    plain_int8: Attestation | None = None
    sensitivity: tuple[LayerSensitivity, ...] = ()


class Judge:
    """Compares forms with the model they were made from."""

    def __init__(
        self, model: LoadedModel, validation: ValidationSet, shards_uri: str, config: ExportConfig
    ) -> None:
        """Keep the model and the images that decide."""
        self._model, self._validation, self._config = model, validation, config
        self._shards_uri = shards_uri
        self._reference = TorchBackend(model.detector, model.info, threads=config.attest.threads)

    def compare(self, forms: Sequence[Form]) -> Comparison:
        """Attest every form that runs here, and note why another does not."""
        backends: dict[str, Backend] = {REFERENCE: self._reference}
        notes: dict[str, str] = {}
        for form in forms:
            if form.path is None or not form.runs_here:
                continue
            try:
                backends[form.name] = open_backend(
                    str(form.path), threads=self._config.attest.threads
                )
            except DamoYoloError as error:
                logger.warning("%s does not run here: %s", form.name, error.problem)
                notes[form.name] = error.problem
        attestations = attest(backends, self._validation, self._shards_uri, self._config.attest)
        images, taps = self._reference_taps()
        for form in forms:
            if form.path is not None and form.name in attestations:
                info = backends[form.name].info
                given = images[:, ::-1].transpose(0, 2, 3, 1) if info.preprocess else images
                given = np.ascontiguousarray(given, np.uint8 if info.preprocess else np.float32)
                attestations[form.name] = _with_taps(
                    attestations[form.name], taps, form.path, given, form.precision
                )
        return Comparison(attestations, notes)

    def mend_int8(
        self, forms: Sequence[Form], found: Comparison, load_images: LoadImages
    ) -> list[Form]:
        """Give OpenVINO's INT8 back its AP where it lost more than it may.

        Returns:
            The forms, INT8 built again where needed; `found` then holds both records and the table
            of sensitive layers.
        """
        accuracy, plain = self._config.accuracy, found.attestations.get(INT8)
        complete = self._config.form.graph.preprocess or self._config.form.graph.nms
        if accuracy is None or plain is None or plain.ap_drop <= accuracy.max_ap_drop:
            return list(forms)
        images = load_images(self._config.form.quantize.num_images)
        fused = fuse(self._model.detector)
        found.sensitivity = layer_sensitivity(fused, images[: accuracy.num_images])
        worst = ", ".join(row.layer for row in found.sensitivity[:3])
        told = f"plain INT8 lost {plain.ap_drop:.4f} AP; most sensitive layers: {worst}"
        logger.warning("%s", told)
        found.notes[INT8] = told
        form = next(form for form in forms if form.name == INT8)
        assert form.path is not None
        if complete:  # NNCF measures raw scores and boxes
            return list(forms)
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "full.onnx"
            info = export_onnx(fused, self._model.info, source, self._config.form.graph)
            measure = partial(
                headline_ap,
                validation=self._validation,
                shards_uri=self._shards_uri,
                config=self._config.attest,
            )
            export_with_accuracy_control(
                source,
                info,
                form.path,
                images,
                Budget(measure, accuracy),
                self._config.form.quantize,
            )
        mended = replace(form, note=f"{form.note}; accuracy-aware")
        again = self.compare([mended])
        found.plain_int8 = plain
        found.attestations[INT8] = again.attestations[INT8]
        return [mended if form.name == INT8 else form for form in forms]

    def _reference_taps(self) -> tuple[NDArray[Any], Taps]:
        images = headline_images(self._reference, self._validation, self._shards_uri, 1)
        return images, torch_taps(fuse(self._model.detector), images)


def _with_taps(
    attestation: Attestation, taps: Taps, path: Path, images: NDArray[Any], precision: str
) -> Attestation:
    seen = file_taps(path, images)
    differences = {name: gap for name, gap in compare(taps, seen).items() if name in SUMMARY}
    departure = find_departure(taps, seen, tolerance=TOLERANCES[precision])
    return attestation.model_copy(update={"taps": differences, "departure": departure})
