"""The figures of the final table, from what the stages left."""

from damo_yolo.artifacts import Artifact
from damo_yolo.evaluation.bootstrap import Comparison
from damo_yolo.reporting.gather import ROLES, RunFiles
from damo_yolo.reporting.summary import DatasetRow, GateRow, ModelRow, Summary, TwinRow

NOTES = {"student": "distilled", "twin": "no teacher"}


def summarise(files: RunFiles, *, report_uri: str) -> Summary:
    """Return the figures of the final table."""
    promotion, version = files.promotion, files.version
    return Summary(
        num_classes=files.records.get("num_classes_with_boxes", 0),
        space_size=len(files.class_names),
        datasets=tuple(_dataset_row(files, name) for name in files.plan.get("datasets", {})),
        models=(
            *(_trained_row(files, role) for role in ROLES if role in files.evaluations),
            *(_artifact_row(artifact) for artifact in files.artifacts),
        ),
        twin=_twin_row(files.against_twin),
        registered_model=version.get("name", ""),
        version=version.get("version"),
        alias="champion" if promotion.get("promoted") else "challenger" if version else "",
        gates=tuple(
            GateRow(**{key: gate[key] for key in GateRow.model_fields})
            for gate in promotion.get("gates", ())
        ),
        tracking_uri=version.get("tracking_uri", ""),
        report_uri=report_uri,
        headline=files.headline,
    )


def _dataset_row(files: RunFiles, name: str) -> DatasetRow:
    share = files.plan["datasets"][name]
    records = files.records.get("datasets", {}).get(name, {})
    return DatasetRow(
        name=name,
        train_images=share["images"],
        train_boxes=records.get("train", {}).get("boxes", 0),
        num_classes=len(files.datasets.get(name, {}).get("known_ids", ())),
        share_before=share["share_before"],
        share_after=share["share_after"],
    )


def _trained_row(files: RunFiles, role: str) -> ModelRow:
    metrics = files.evaluations[role]
    return ModelRow(
        name=f"{role} {metrics['model']}",
        ap=metrics["ap"],
        ap50=metrics["ap50"],
        ap_by_source={
            name: result["ap"]
            for name, result in metrics["datasets"].items()
            if name != metrics["headline"]
        },
        note=NOTES.get(role, ""),
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


def _twin_row(comparison: Comparison | None) -> TwinRow | None:
    if comparison is None:
        return None
    ap = comparison.ap
    return TwinRow(
        difference=ap.difference,
        low=ap.low,
        high=ap.high,
        confidence=comparison.confidence,
        verdict=ap.verdict,
    )
