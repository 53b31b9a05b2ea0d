"""Register exported artifacts as a model version."""

import json
from typing import Any

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.registry.register import Lineage, RegisteredVersion, register_version
from damo_yolo.stages.catalog import running_code_version


def register_model(
    *,
    name: str,
    model_uri: str,
    evaluation_uri: str,
    export_uri: str,
    shards_uri: str,
    tracking_uri: str,
    out_uri: str,
    code_version: str = "",
) -> RegisteredVersion:
    """Register what was exported, with the chain of hashes that leads back to the images.

    Args:
        name: registered model; made when it does not exist.
        model_uri: model folder that training wrote.
        evaluation_uri: folder that evaluation wrote for this model.
        export_uri: folder that export wrote for this model.
        shards_uri: shards that it was trained and evaluated on.
        tracking_uri: MLflow store.
        out_uri: where `version.json` goes.
        code_version: of the library that made all this; empty: the one that is running.

    Raises:
        StorageError: one of the folders lacks its record.
        DataError: no artifact can serve.
    """
    trained = _read(model_uri, "result.json")
    metrics = _read(evaluation_uri, "metrics.json")
    manifest_uri = storage.join(shards_uri, "train", "manifest.json")
    manifest = _read(shards_uri, "train/manifest.json")
    artifacts = read_artifacts(export_uri)
    lineage = Lineage(
        manifest_sha256=manifest["sha256"],
        manifest_uri=manifest_uri,
        label_space_sha256=manifest["label_space_sha256"],
        code_version=code_version or running_code_version(),
        checkpoint_sha256=trained["model_sha256"],
        evaluation_sha256=_read(shards_uri, "val/manifest.json")["sha256"],
        ap=metrics["ap"],
        ap50=metrics["ap50"],
    )
    version = register_version(
        name, artifacts, lineage, run_id=trained["tracking_run_id"], tracking_uri=tracking_uri
    )
    storage.write_text(storage.join(out_uri, "version.json"), version.model_dump_json(indent=2))
    return version


def read_artifacts(export_uri: str) -> list[Artifact]:
    """Return the artifacts that export listed."""
    values = _read(export_uri, "artifacts.json")
    listed = values["artifacts"] if isinstance(values, dict) else values
    return [Artifact.from_mapping(value, source=export_uri) for value in listed]


def _read(uri: str, name: str) -> Any:
    return json.loads(storage.read_text(storage.join(uri, name)))
