"""Collect what the stages of a run wrote into the figures of a report."""

import json
from dataclasses import dataclass
from typing import Any, Self

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.labels.space import LabelSpace
from damo_yolo.reporting.page import Details
from damo_yolo.reporting.summary import DatasetRow, GateRow, ModelRow, Summary
from damo_yolo.training.progress import Record, read_metrics

ROLES = ("teacher", "student", "twin")


class RunLocations(Config):
    """Where each stage of a run put its output."""

    records_uri: str
    plan_uri: str
    shards_uri: str
    teacher_uri: str
    student_uri: str
    twin_uri: str
    teacher_evaluation_uri: str
    student_evaluation_uri: str
    twin_evaluation_uri: str
    export_uri: str
    version_uri: str
    promotion_uri: str

    def model_uri(self, role: str) -> str:
        """Return the model folder of a role."""
        return str(getattr(self, f"{role}_uri"))

    def evaluation_uri(self, role: str) -> str:
        """Return the evaluation folder of a role."""
        return str(getattr(self, f"{role}_evaluation_uri"))


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The records that the stages left, read once."""

    locations: RunLocations
    space: LabelSpace
    records: dict[str, Any]
    datasets: dict[str, Any]
    plan: dict[str, Any]
    manifest: dict[str, Any]
    """Of the training shards."""
    trained: dict[str, dict[str, Any]]
    """By role: `result.json` of the model folder."""
    progress: dict[str, list[Record]]
    """By role: the lines of `metrics.jsonl`."""
    evaluations: dict[str, dict[str, Any]]
    """By role: `metrics.json` of the evaluation folder."""
    artifacts: list[Artifact]
    version: dict[str, Any]
    promotion: dict[str, Any]

    @classmethod
    def read(cls, locations: RunLocations) -> Self:
        """Read every file; raises `StorageError` where one is missing."""
        listed = _json(locations.export_uri, "artifacts.json")
        return cls(
            locations=locations,
            space=LabelSpace.load(storage.join(locations.records_uri, "label_space.csv")),
            records=_json(locations.records_uri, "result.json"),
            datasets=_json(locations.records_uri, "datasets.json")["datasets"],
            plan=_json(locations.plan_uri, "plan.json"),
            manifest=_json(locations.shards_uri, "train/manifest.json"),
            trained={role: _json(locations.model_uri(role), "result.json") for role in ROLES},
            progress={role: read_metrics(locations.model_uri(role)) for role in ROLES},
            evaluations={
                role: _json(locations.evaluation_uri(role), "metrics.json") for role in ROLES
            },
            artifacts=[
                Artifact.from_mapping(value, source=locations.export_uri)
                for value in (listed["artifacts"] if isinstance(listed, dict) else listed)
            ],
            version=_json(locations.version_uri, "version.json"),
            promotion=_json(locations.promotion_uri, "promotion.json"),
        )


def summarise(files: RunFiles, *, report_uri: str) -> Summary:
    """Return the figures of the final table."""
    promoted = files.promotion["promoted"]
    return Summary(
        num_classes=files.records["num_classes_with_boxes"],
        space_size=len(files.space),
        datasets=tuple(_dataset_row(files, name) for name in files.plan["datasets"]),
        models=(
            *(_trained_row(files, role) for role in ROLES),
            *(_artifact_row(artifact) for artifact in files.artifacts),
        ),
        registered_model=files.version["name"],
        version=files.version["version"],
        alias="champion" if promoted else "challenger",
        gates=tuple(
            GateRow(**{key: gate[key] for key in GateRow.model_fields})
            for gate in files.promotion["gates"]
        ),
        tracking_uri=files.version["tracking_uri"],
        report_uri=report_uri,
        headline=files.evaluations["student"]["headline"],
    )


def gather_details(files: RunFiles) -> Details:
    """Return lineage and settings for the end of the page."""
    student = files.trained["student"]
    evaluation = files.evaluations["student"]
    return Details(
        lineage={
            "passport": files.version["passport_sha256"],
            "MLflow run": files.version["run_id"],
            "MLflow store": files.version["tracking_uri"],
            "training manifest": files.manifest["sha256"],
            "validation manifest": evaluation["manifest_sha256"],
            "label space": evaluation["label_space_sha256"],
            "student weights": student["model_sha256"],
            **{f"{a.kind} {a.precision}": a.sha256 or a.note for a in files.artifacts},
        },
        settings={
            f"{role}": f"{result['model']}, {result['steps']} steps in {result['seconds']:.0f} s, "
            f"{result['images_per_s']:.1f} images/s"
            for role, result in files.trained.items()
        },
    )


def _dataset_row(files: RunFiles, name: str) -> DatasetRow:
    share = files.plan["datasets"][name]
    facts = files.datasets[name]
    return DatasetRow(
        name=name,
        train_images=share["images"],
        train_boxes=files.records["datasets"][name]["train"]["boxes"],
        num_classes=len(facts["known_ids"]),
        share_before=share["share_before"],
        share_after=share["share_after"],
    )


def _trained_row(files: RunFiles, role: str) -> ModelRow:
    metrics = files.evaluations[role]
    headline = metrics["headline"]
    notes = {"student": "distilled", "twin": "no teacher", "teacher": ""}
    return ModelRow(
        name=f"{role} {metrics['model']}",
        ap=metrics["ap"],
        ap50=metrics["ap50"],
        ap_by_source={
            name: result["ap"] for name, result in metrics["datasets"].items() if name != headline
        },
        note=notes[role],
    )


def _artifact_row(artifact: Artifact) -> ModelRow:
    metrics = artifact.metrics
    drop = metrics.get("ap_drop")
    note = artifact.note if drop is None else f"AP {0.0 - drop:+.4f} against torch"
    return ModelRow(
        name=f"{artifact.kind} {artifact.precision}",
        ap=metrics.get("ap"),
        ap50=metrics.get("ap50"),
        latency_ms=metrics.get("latency_p50_ms"),
        size_mb=metrics["num_bytes"] / 1e6 if metrics.get("num_bytes") else None,
        note=note if artifact.attested else "not attested",
    )


def _json(uri: str, name: str) -> Any:
    return json.loads(storage.read_text(storage.join(uri, name)))
