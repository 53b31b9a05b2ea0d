"""A trained model in every form that deploys, each with the proof that it agrees with the model."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, DamoYoloError
from damo_yolo.evaluation.ground_truth import read_validation_set
from damo_yolo.export.attest import REFERENCE, Attestation, AttestConfig, attest
from damo_yolo.export.calibration import calibration_images
from damo_yolo.export.forms import FORMATS, Form, Format, FormConfig, build_forms
from damo_yolo.inference.backends import Backend, TorchBackend, open_backend
from damo_yolo.inference.info import DetectorInfo, check_same_classes
from damo_yolo.inference.model_folder import LoadedModel, load_model

ARTIFACTS_FILE = "artifacts.json"
RESULT_FILE = "result.json"

logger = logging.getLogger(__name__)


class ExportConfig(Config):
    """How a model is exported."""

    form: FormConfig = Field(default_factory=FormConfig)
    attest: AttestConfig = Field(default_factory=AttestConfig)
    seed: int = 0
    """Of the choice of calibration images."""


class ExportResult(Config):
    """What `result.json` holds."""

    artifacts: tuple[Artifact, ...]
    """The trained model first."""
    attestations: dict[str, Attestation]
    """By format; `torch` is the trained model itself."""
    headline: str
    """Dataset of the validation images."""
    model_uri: str
    manifest_sha256: str
    """Of the validation shards."""


def export_detector(
    *,
    model_uri: str,
    shards_uri: str,
    plan_uri: str | None,
    out_uri: str,
    formats: Sequence[Format] = FORMATS,
    config: ExportConfig | None = None,
) -> ExportResult:
    """Export a model and hold every artifact against it on the headline validation images.

    Args:
        model_uri: folder that training wrote.
        shards_uri: folder that the shard stage wrote.
        plan_uri: folder that the balance stage wrote: INT8 ranges are measured on training images
            drawn by its weights. None: on training images drawn alike.
        out_uri: where the artifacts, `artifacts.json` and `result.json` go.
        formats: which forms, some of `FORMATS`.
        config: how.

    Raises:
        ConfigError: a format is unknown.
        DataError: the model's classes are not those of the shards.
        StorageError: a location cannot be read or written.
    """
    config = config or ExportConfig()
    _check_formats(formats)
    model = load_model(model_uri)
    validation = read_validation_set(shards_uri)
    check_same_classes(
        model.info.class_names, validation.class_names, what=f"{model_uri} and {shards_uri}"
    )
    load_images = partial(_training_images, shards_uri, plan_uri or None, model.info, config.seed)
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
        backends, failures = _open(model, forms, threads=config.attest.threads)
        attestations = attest(backends, validation, shards_uri, config.attest)
        own = _artifact_of_model(model, attestations[REFERENCE])
        built = [_artifact(form, model.info, out_uri, attestations, failures) for form in forms]
        storage.publish(folder, out_uri)
    result = ExportResult(
        artifacts=(own, *built),
        attestations=attestations,
        headline=validation.headline,
        model_uri=model_uri,
        manifest_sha256=validation.manifest_sha256,
    )
    listed = [artifact.model_dump(mode="json") for artifact in result.artifacts]
    storage.write_text(storage.join(out_uri, ARTIFACTS_FILE), json.dumps(listed, indent=2))
    storage.write_text(storage.join(out_uri, RESULT_FILE), result.model_dump_json(indent=2))
    return result


def _check_formats(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ConfigError(
            f"no format is called {unknown[0]!r}", fix=f"use some of: {', '.join(FORMATS)}"
        )


def _training_images(
    shards_uri: str, plan_uri: str | None, info: DetectorInfo, seed: int, num_images: int
) -> Sequence[NDArray[np.uint8]]:
    return calibration_images(
        shards_uri, plan_uri, num_images=num_images, image_size=info.image_size, seed=seed
    )


def _open(
    model: LoadedModel, forms: Sequence[Form], *, threads: int | None
) -> tuple[dict[str, Backend], dict[str, str]]:
    """Return the backends that run here, the model's among them, and why others do not."""
    backends: dict[str, Backend] = {
        REFERENCE: TorchBackend(model.detector, model.info, threads=threads)
    }
    failures: dict[str, str] = {}
    for form in forms:
        if form.path is None or not form.runs_here:
            continue
        try:
            backends[form.name] = open_backend(str(form.path), threads=threads)
        except DamoYoloError as error:
            logger.warning("%s does not run here: %s", form.name, error.problem)
            failures[form.name] = error.problem
    return backends, failures


def _artifact_of_model(model: LoadedModel, attestation: Attestation) -> Artifact:
    info = model.info
    return Artifact(
        kind="torch",
        precision="fp32",
        uri=model.uri,
        sha256=storage.sha256(model.uri),
        model=info.model,
        image_size=info.image_size,
        label_space_sha256=info.label_space_sha256,
        metrics=attestation.to_metrics(),
    )


def _artifact(
    form: Form,
    info: DetectorInfo,
    out_uri: str,
    attestations: Mapping[str, Attestation],
    failures: Mapping[str, str],
) -> Artifact:
    attestation = attestations.get(form.name)
    notes = [form.note, failures.get(form.name, "")]
    if attestation is not None and not attestation.parity.proves_something:
        notes.append(
            "the model's scores hardly vary, so agreement proves little: train it for longer"
        )
    metrics = attestation.to_metrics() if attestation is not None else {}
    return Artifact(
        kind=form.kind,
        precision=form.precision,
        uri=storage.join(out_uri, form.path.name) if form.path else "",
        sha256=_sha256(form.files) if form.path else "",
        model=info.model,
        image_size=info.image_size,
        label_space_sha256=info.label_space_sha256,
        metrics=metrics | {"num_bytes": float(sum(path.stat().st_size for path in form.files))},
        attested=attestation is not None,
        note="; ".join(note for note in notes if note),
    )


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
