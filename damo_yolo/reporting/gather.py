"""Collect what the stages of a run wrote; a report shows what is there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from damo_yolo import storage
from damo_yolo.artifacts import Artifact
from damo_yolo.config import Config
from damo_yolo.evaluation.bootstrap import Comparison
from damo_yolo.evaluation.errors import ErrorAnalysis
from damo_yolo.evaluation.sources import SourceRanking
from damo_yolo.labels.space import LabelSpace
from damo_yolo.training.progress import Record, read_metrics

T = TypeVar("T", bound=Config)

ROLES = ("teacher", "student", "twin")


class RunLocations(Config):
    """Where each stage of a run put its output; empty where it did not run."""

    records_uri: str = ""
    plan_uri: str = ""
    shards_uri: str = ""
    tuning_uri: str = ""
    teacher_uri: str = ""
    student_uri: str = ""
    twin_uri: str = ""
    teacher_evaluation_uri: str = ""
    student_evaluation_uri: str = ""
    twin_evaluation_uri: str = ""
    export_uri: str = ""
    version_uri: str = ""
    promotion_uri: str = ""

    def model_uri(self, role: str) -> str:
        """Return the model folder of a role."""
        return str(getattr(self, f"{role}_uri"))

    def evaluation_uri(self, role: str) -> str:
        """Return the evaluation folder of a role."""
        return str(getattr(self, f"{role}_evaluation_uri"))


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The records that the stages left, read once; empty where a stage did not run."""

    locations: RunLocations
    class_names: tuple[str, ...] = ()
    records: Mapping[str, Any] = field(default_factory=dict)
    datasets: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """Of the training shards."""
    sweep: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By role: `result.json` of the model folder."""
    progress: Mapping[str, list[Record]] = field(default_factory=dict)
    """By role: the lines of `metrics.jsonl`."""
    evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By role: `metrics.json` of the evaluation folder."""
    errors: ErrorAnalysis | None = None
    """Of the student."""
    ranking: SourceRanking | None = None
    """Sources, with the student as the witness."""
    against_twin: Comparison | None = None
    """Student against twin on the headline dataset."""
    artifacts: tuple[Artifact, ...] = ()
    version: Mapping[str, Any] = field(default_factory=dict)
    promotion: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, locations: RunLocations, against_twin: Comparison | None = None) -> Self:
        """Read every file of the stages that ran.

        Raises:
            StorageError: a stage's output is not there.
        """
        at = locations
        evaluated = [role for role in ROLES if at.evaluation_uri(role)]
        return cls(
            locations=at,
            class_names=_class_names(at),
            records=_json(at.records_uri, "result.json"),
            datasets=_json(at.records_uri, "datasets.json").get("datasets", {}),
            plan=_json(at.plan_uri, "plan.json"),
            manifest=_json(at.shards_uri, "train/manifest.json"),
            sweep=_json(at.tuning_uri, "sweep.json"),
            trained={r: _json(at.model_uri(r), "result.json") for r in ROLES if at.model_uri(r)},
            progress={r: read_metrics(at.model_uri(r)) for r in ROLES if at.model_uri(r)},
            evaluations={r: _json(at.evaluation_uri(r), "metrics.json") for r in evaluated},
            errors=_optional(at.student_evaluation_uri, "errors.json", ErrorAnalysis),
            ranking=_optional(at.student_evaluation_uri, "sources.json", SourceRanking),
            against_twin=against_twin,
            artifacts=_artifacts(at.export_uri),
            version=_json(at.version_uri, "version.json"),
            promotion=_json(at.promotion_uri, "promotion.json"),
        )

    @property
    def headline(self) -> str:
        """Name of the headline dataset."""
        found = next(iter(self.evaluations.values()), None)
        return str(found["headline"]) if found else ""

    def name_of(self, class_id: int) -> str:
        """Return the name of a class."""
        return self.class_names[class_id] if class_id < len(self.class_names) else str(class_id)


def _class_names(locations: RunLocations) -> tuple[str, ...]:
    for folder in (locations.records_uri, locations.shards_uri):
        if folder:
            return LabelSpace.load(storage.join(folder, "label_space.csv")).names
    return ()


def _artifacts(export_uri: str) -> tuple[Artifact, ...]:
    if not export_uri:
        return ()
    listed = json.loads(storage.read_text(storage.join(export_uri, "artifacts.json")))
    return tuple(Artifact.from_mapping(value, source=export_uri) for value in listed)


def _json(folder_uri: str, name: str) -> dict[str, Any]:
    if not folder_uri:
        return {}
    values: dict[str, Any] = json.loads(storage.read_text(storage.join(folder_uri, name)))
    return values


def _optional(folder_uri: str, name: str, kind: type[T]) -> T | None:
    """Read a file that its stage writes only when asked to."""
    uri = storage.join(folder_uri, name) if folder_uri else ""
    if not uri or not storage.exists(uri):
        return None
    return kind.from_yaml(storage.read_text(uri), source=uri)  # JSON is YAML
