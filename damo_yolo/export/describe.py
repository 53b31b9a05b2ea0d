"""Forms and what was measured of them -> the artifacts that a registry takes."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.export.attest import Attestation
from damo_yolo.export.causes import UNEXPLAINED
from damo_yolo.export.forms import Form
from damo_yolo.inference.info import DetectorInfo
from damo_yolo.inference.model_folder import LoadedModel

PROVES_LITTLE = "the model's scores hardly vary, so agreement proves little: train it for longer"


def artifact_of_model(model: LoadedModel, attestation: Attestation | None) -> Artifact:
    """Return the artifact of the trained model itself."""
    info = model.info
    return Artifact(
        kind="torch",
        precision="fp32",
        uri=model.uri,
        sha256=storage.sha256(model.uri),
        model=info.model,
        image_size=info.image_size,
        label_space_sha256=info.label_space_sha256,
        metrics=attestation.to_metrics() if attestation else {},
    )


def artifact_of_form(
    form: Form,
    info: DetectorInfo,
    out_uri: str,
    attestation: Attestation | None,
    notes: Sequence[str] = (),
) -> Artifact:
    """Return the artifact of a form, attested or not.

    Args:
        form: as built, or not.
        info: of the model.
        out_uri: where its files go.
        attestation: what was measured; None: it was not run, or not compared.
        notes: what else is to be said.
    """
    said = [form.note, *notes, *remarks(attestation, form.precision)]
    metrics = attestation.to_metrics() if attestation is not None else {}
    size = float(sum(path.stat().st_size for path in form.files))
    return Artifact(
        kind=form.kind,
        precision=form.precision,
        uri=storage.join(out_uri, form.path.name) if form.path else "",
        sha256=sha256_of_files(form.files) if form.path else "",
        model=info.model,
        image_size=info.image_size,
        label_space_sha256=info.label_space_sha256,
        metrics=metrics | {"num_bytes": size},
        attested=attestation is not None,
        note="; ".join(note for note in said if note),
    )


HARMLESS_AP_DROP = 0.005
"""Rounding to 8 bits adds up layer by layer, and scales and shifts channels as a fault may: without
a loss it is none."""


def remarks(attestation: Attestation | None, precision: str) -> list[str]:
    """Return what a person should know of the figures."""
    if attestation is None:
        return []
    said = [] if attestation.parity.proves_something else [PROVES_LITTLE]
    departure = attestation.departure
    is_loss = attestation.ap_drop > HARMLESS_AP_DROP
    is_fault = departure and departure.cause != UNEXPLAINED and precision != "int8"
    if departure and (is_fault or is_loss):
        said.append(f"departs from the model at {departure.tap}: {departure.cause}")
    return said


def sha256_of_files(files: Sequence[Path]) -> str:
    """Return the checksum of files one after the other."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def with_record(artifact: Artifact, attestation: Attestation, note: str) -> Artifact:
    """Return an artifact with the record it was missing."""
    metrics: Mapping[str, float] = artifact.metrics | attestation.to_metrics()
    said = [part for part in artifact.note.split("; ") if not part.startswith("not run")]
    said += [note, *remarks(attestation, artifact.precision)]
    update = {"metrics": dict(metrics), "attested": True, "note": "; ".join(filter(None, said))}
    return artifact.model_copy(update=update)
