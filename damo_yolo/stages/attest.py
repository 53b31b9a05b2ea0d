"""The record that an engine is missing: run on its GPU, compared with the model, written down."""

import json
from typing import Any

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.errors import ConfigError, DataError
from damo_yolo.evaluation.ground_truth import read_validation_set
from damo_yolo.export.attest import REFERENCE, Attestation, AttestConfig, attest
from damo_yolo.export.describe import with_record
from damo_yolo.inference.backend import Backend, GraphBackend
from damo_yolo.inference.backends import TorchBackend
from damo_yolo.inference.info import check_same_classes
from damo_yolo.inference.model_folder import load_model
from damo_yolo.inference.recording import Recorder, Recording
from damo_yolo.inference.tensorrt_runtime import open_engine
from damo_yolo.stages.export import ARTIFACTS_FILE

ENGINE = "engine"


class AttestResult(Config):
    """What was measured of an engine, and what its artifact says now."""

    artifact: Artifact
    attestation: Attestation
    device: str
    """GPU that ran it; of a recording, the one that it was made on."""
    played: bool
    """True: a recording was played. Then nothing was attested, and nothing written."""


def attest_engine(
    *,
    engine_uri: str,
    model_uri: str,
    shards_uri: str,
    record_uri: str | None = None,
    recording_uri: str | None = None,
    config: AttestConfig | None = None,
) -> AttestResult:
    """Run an engine on the headline validation images and add the record to its artifact.

    Args:
        engine_uri: the engine; `artifacts.json` of its export lies beside it.
        model_uri: folder of the model that it was made from.
        shards_uri: folder that the shard stage wrote.
        record_uri: keep the engine's outputs in this file.
        recording_uri: play this file instead of running the engine: shows the comparison without a
            GPU. The artifact stays as it is.
        config: how it is compared.

    Raises:
        ConfigError: a recording is to be made and played at once.
        DataError: the engine is not listed beside it, or is another one than was exported.
        EngineError: there is no GPU here, or the engine does not run on it.
        StorageError: a location cannot be read or written.
    """
    if record_uri and recording_uri:
        raise ConfigError("a recording cannot be made of a recording", fix="name one of the two")
    config = config or AttestConfig()
    list_uri, artifacts, place = _listed(engine_uri)
    engine, device = _open(engine_uri, recording_uri)
    model = load_model(model_uri)
    validation = read_validation_set(shards_uri)
    check_same_classes(engine.class_names, model.info.class_names, what="the engine and the model")
    check_same_classes(
        model.info.class_names, validation.class_names, what=f"{model_uri} and {shards_uri}"
    )
    recorder = Recorder(engine) if record_uri else None
    backends: dict[str, Backend] = {
        REFERENCE: TorchBackend(model.detector, model.info, threads=config.threads),
        ENGINE: recorder or engine,
    }
    attestation = attest(backends, validation, shards_uri, config)[ENGINE]
    if recorder is not None and record_uri:
        recorder.save(record_uri, device=device)
    artifact = artifacts[place]
    if recording_uri is None:
        artifact = with_record(artifact, attestation, f"run on {device}")
        artifacts[place] = artifact
        listed = [item.model_dump(mode="json") for item in artifacts]
        storage.write_text(list_uri, json.dumps(listed, indent=2))
        storage.write_text(f"{engine_uri}.attestation.json", attestation.model_dump_json(indent=2))
    return AttestResult(
        artifact=artifact,
        attestation=attestation,
        device=device,
        played=recording_uri is not None,
    )


def _listed(engine_uri: str) -> tuple[str, list[Artifact], int]:
    """Return the list beside an engine, its artifacts, and the engine's place among them."""
    folder, _, name = engine_uri.rpartition("/")
    list_uri = storage.join(folder or ".", ARTIFACTS_FILE)
    values: list[Any] = json.loads(storage.read_text(list_uri))
    artifacts = [Artifact.from_mapping(value, source=list_uri) for value in values]
    for place, artifact in enumerate(artifacts):
        if artifact.uri.rpartition("/")[2] == name:
            return list_uri, artifacts, place
    raise DataError(
        f"{list_uri} lists no {name}", fix="attest an engine in the folder it was exported to"
    )


def _open(engine_uri: str, recording_uri: str | None) -> tuple[GraphBackend, str]:
    if recording_uri is not None:
        recording = Recording(recording_uri)
        return recording, recording.device
    engine = open_engine(engine_uri)
    return engine, engine.device
