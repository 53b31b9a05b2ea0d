"""Artifact -> MLflow model version, with everything that says where it came from."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.errors import DataError
from damo_yolo.tracking import experiment_id

CHALLENGER = "challenger"
CHAMPION = "champion"
PREVIOUS = "previous"

SERVING_MODEL = Path(__file__).with_name("serving_model.py")


class Lineage(Config):
    """Where a version came from: tags of the version, and what a person asks first."""

    manifest_sha256: str
    """Of the shards' manifest: which images, byte for byte, it was trained on."""
    manifest_uri: str
    label_space_sha256: str
    code_version: str
    checkpoint_sha256: str
    evaluation_sha256: str
    """Of the validation manifest: AP of two versions compare only where it is equal."""
    ap: float
    ap50: float


class RegisteredVersion(Config):
    """A version in the registry."""

    name: str
    version: int
    run_id: str
    alias: str
    passport_sha256: str
    tracking_uri: str


def register_version(
    name: str,
    artifacts: Sequence[Artifact],
    lineage: Lineage,
    *,
    run_id: str,
    tracking_uri: str,
) -> RegisteredVersion:
    """Register the artifacts as one version of a model and call it the challenger.

    Registering the same artifacts with the same lineage again returns the version that is there.

    Args:
        name: registered model, made when it does not exist.
        artifacts: what was exported; the one that serves is the best attested OpenVINO or ONNX one.
        lineage: where it came from.
        run_id: MLflow run of the training; empty makes a run of its own.
        tracking_uri: MLflow store: sqlite:///file.db or a server's address.

    Raises:
        DataError: no attested artifact can serve.
    """
    import mlflow
    from mlflow import MlflowClient

    serving = choose_serving(artifacts)
    passport = passport_of(artifacts, lineage)
    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    known = _find_version(client, name, passport)
    if known is None:
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        tags = _tags(lineage, serving, passport, artifacts)
        known = _make_version(name, artifacts, lineage, tags=tags, run_id=run_id)
    client.set_registered_model_alias(name, CHALLENGER, str(known.version))
    return RegisteredVersion(
        name=name,
        version=int(known.version),
        run_id=known.run_id or run_id,
        alias=CHALLENGER,
        passport_sha256=passport,
        tracking_uri=tracking_uri,
    )


def choose_serving(artifacts: Sequence[Artifact]) -> Artifact:
    """Return the artifact that a loaded version runs: portable, attested, full accuracy first."""
    order = [("openvino", "fp16"), ("openvino", "fp32"), ("onnx", "fp32"), ("openvino", "int8")]
    for kind, precision in order:
        for artifact in artifacts:
            if artifact.attested and (artifact.kind, artifact.precision) == (kind, precision):
                return artifact
    raise DataError(
        "no exported artifact can serve: none is an attested OpenVINO IR or ONNX file",
        fix="export with --to onnx or --to openvino first",
    )


def passport_of(artifacts: Sequence[Artifact], lineage: Lineage) -> str:
    """Return the SHA-256 that chains data, code, checkpoint and every artifact of a version."""
    chain = {
        "lineage": lineage.model_dump(),
        "artifacts": sorted((a.kind, a.precision, a.sha256) for a in artifacts),
    }
    return hashlib.sha256(json.dumps(chain, sort_keys=True).encode("utf-8")).hexdigest()


def version_at(client: Any, name: str, alias: str) -> int | None:
    """Return the version that an alias names, None when the model or the alias is not there."""
    from mlflow.exceptions import MlflowException

    try:
        return int(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}:
            return None
        raise


def lineage_of(name: str, version: int, *, tracking_uri: str) -> Lineage:
    """Return where a registered version came from, read back from its tags."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    tags = client.get_model_version(name, str(version)).tags
    values = {key: tags[key] for key in Lineage.model_fields if key in tags}
    return Lineage.from_mapping(values, source=f"{name} version {version}")


def champion_lineage(name: str, *, tracking_uri: str) -> tuple[int, Lineage] | None:
    """Return the reigning champion's version and lineage, None when there is none."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    version = version_at(client, name, CHAMPION)
    if version is None:
        return None
    return version, lineage_of(name, version, tracking_uri=tracking_uri)


def download_served(name: str, version: int, *, tracking_uri: str, folder: Path) -> str:
    """Download a version and return the path of the artifact that it serves."""
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    served = client.get_model_version(name, str(version)).tags["serves_file"]
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    root = Path(
        mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=str(folder))
    )
    return str(next(root.rglob(served)))


def _find_version(client: Any, name: str, passport: str) -> Any | None:
    for version in client.search_model_versions(f"name='{name}'"):
        if version.tags.get("passport_sha256") == passport:
            return version
    return None


def _make_version(
    name: str,
    artifacts: Sequence[Artifact],
    lineage: Lineage,
    *,
    tags: Mapping[str, str],
    run_id: str,
) -> Any:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    serving = choose_serving(artifacts)
    experiment = None if run_id else experiment_id(mlflow.MlflowClient())
    with mlflow.start_run(run_id or None, experiment, run_name=None if run_id else name):
        mlflow.log_metrics({"registered_ap": lineage.ap, "registered_ap50": lineage.ap50})
        listed = {"artifacts": [artifact.model_dump(mode="json") for artifact in artifacts]}
        mlflow.log_dict(listed, "artifacts.json")
        info = mlflow.pyfunc.log_model(
            name="detector",
            python_model=str(SERVING_MODEL),
            artifacts={"export": serving.uri.rpartition("/")[0]},  # a folder, or an s3:// prefix
            model_config={"serves": Path(serving.uri).name},
            pip_requirements=["damo-yolo-pipeline"],
        )
        return mlflow.register_model(info.model_uri, name, tags=dict(tags))


def _tags(
    lineage: Lineage, serving: Artifact, passport: str, artifacts: Sequence[Artifact]
) -> Mapping[str, str]:
    tags = {key: str(value) for key, value in lineage.model_dump().items()}
    tags |= {"passport_sha256": passport, "serves": f"{serving.kind} {serving.precision}"}
    tags |= {"serves_file": Path(serving.uri).name}
    tags |= {"model": serving.model, "image_size": str(serving.image_size)}
    for artifact in artifacts:
        status = artifact.sha256 if artifact.attested else f"not attested: {artifact.note}"
        tags[f"artifact.{artifact.kind}.{artifact.precision}"] = status[:500]
    return tags
