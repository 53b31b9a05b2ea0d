"""A trained model in every form that deploys, each with the proof that it agrees with the model."""

import json
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError
from damo_yolo.evaluation.ground_truth import read_validation_set
from damo_yolo.export.attest import REFERENCE, Attestation
from damo_yolo.export.calibration import calibration_images
from damo_yolo.export.describe import artifact_of_form, artifact_of_model
from damo_yolo.export.forms import FORMATS, FORMS, Form, Format, build_forms
from damo_yolo.export.judge import Comparison, ExportConfig, Judge
from damo_yolo.export.sensitivity import LayerSensitivity
from damo_yolo.inference.info import DetectorInfo, check_same_classes
from damo_yolo.inference.model_folder import load_model

__all__ = ["ExportConfig", "ExportResult", "export_detector"]

ARTIFACTS_FILE = "artifacts.json"
RESULT_FILE = "result.json"


class ExportResult(Config):
    """What `result.json` holds."""

    artifacts: tuple[Artifact, ...]
    """The trained model first."""
    attestations: dict[str, Attestation]
    """By format; `torch` is the trained model itself. Empty where there were no shards."""
    plain_int8: Attestation | None = None
    """Of the INT8 that lost too much, where layers went back to floating point."""
    sensitivity: tuple[LayerSensitivity, ...] = ()
    """Then, what each layer alone loses in INT8, the most sensitive first."""
    headline: str
    """Dataset of the validation images."""
    model_uri: str
    manifest_sha256: str
    """Of the validation shards."""


def export_detector(
    *,
    model_uri: str,
    shards_uri: str | None,
    plan_uri: str | None,
    out_uri: str,
    formats: Sequence[Format] = FORMATS,
    config: ExportConfig | None = None,
) -> ExportResult:
    """Export a model and hold every artifact against it on the headline validation images.

    Args:
        model_uri: folder that training wrote.
        shards_uri: folder that the shard stage wrote. None: nothing is compared or attested, and
            there is no INT8.
        plan_uri: folder that the balance stage wrote: INT8 ranges are measured on training images
            drawn by its weights. None: on training images drawn alike.
        out_uri: where the artifacts, `artifacts.json` and `result.json` go.
        formats: which forms, some of `FORMS`.
        config: how.

    Raises:
        ConfigError: a format is unknown, or is INT8 without shards.
        DataError: the model's classes are not those of the shards.
        StorageError: a location cannot be read or written.
    """
    config = config or ExportConfig()
    _check_formats(formats, with_images=bool(shards_uri))
    model = load_model(model_uri)
    validation = read_validation_set(shards_uri) if shards_uri else None
    if validation is not None:
        what = f"{model_uri} and {shards_uri}"
        check_same_classes(model.info.class_names, validation.class_names, what=what)
    load_images = partial(_training_images, shards_uri or "", plan_uri, model.info, config.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        forms = build_forms(
            model.detector,
            model.info,
            formats,
            folder,
            load_images=load_images,
            config=config.form,
        )
        found = Comparison()
        if validation is not None and shards_uri:
            judge = Judge(model, validation, shards_uri, config)
            found = judge.compare(forms)
            forms = judge.mend_int8(forms, found, load_images)
        own = artifact_of_model(model, found.attestations.get(REFERENCE))
        built = [_artifact(form, model.info, out_uri, found) for form in forms]
        storage.publish(folder, out_uri)
    result = ExportResult(
        artifacts=(own, *built),
        attestations=found.attestations,
        plain_int8=found.plain_int8,
        sensitivity=found.sensitivity,
        headline=validation.headline if validation else "",
        model_uri=model_uri,
        manifest_sha256=validation.manifest_sha256 if validation else "",
    )
    listed = [artifact.model_dump(mode="json") for artifact in result.artifacts]
    storage.write_text(storage.join(out_uri, ARTIFACTS_FILE), json.dumps(listed, indent=2))
    storage.write_text(storage.join(out_uri, RESULT_FILE), result.model_dump_json(indent=2))
    return result


def _check_formats(formats: Sequence[str], *, with_images: bool) -> None:
    unknown = [name for name in formats if name not in FORMS]
    if unknown:
        raise ConfigError(
            f"no format is called {unknown[0]!r}", fix=f"use some of: {', '.join(FORMS)}"
        )
    if not with_images and any(FORMS[name][1] == "int8" for name in formats):
        raise ConfigError(
            "INT8 needs training images to measure its ranges on",
            fix="give the shards, or another precision",
        )


def _training_images(
    shards_uri: str, plan_uri: str | None, info: DetectorInfo, seed: int, num_images: int
) -> Sequence[NDArray[np.uint8]]:
    return calibration_images(
        shards_uri, plan_uri or None, num_images=num_images, image_size=info.image_size, seed=seed
    )


def _artifact(form: Form, info: DetectorInfo, out_uri: str, found: Comparison) -> Artifact:
    notes = [found.notes.get(form.name, "")]
    if form.runs_here and not found.attestations:
        notes.append("not attested: there were no validation images to compare it on")
    return artifact_of_form(form, info, out_uri, found.attestations.get(form.name), notes)
