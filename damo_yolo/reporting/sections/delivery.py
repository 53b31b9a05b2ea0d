"""What can be shipped: artifacts, gates, and where everything came from."""

from damo_yolo.artifacts import Artifact
from damo_yolo.reporting import figures
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Section, Table, number


def delivery_section(files: RunFiles) -> Section | None:
    """Return artifacts with parity and latency, and the gates."""
    if not files.artifacts:
        return None
    head = ("artifact", "AP", "AP50", "AP lost", "box, px", "score", "ms", "MB", "note")
    caption = (
        "Against the trained model on the same images: AP lost, mean difference of boxes and of "
        "scores; median milliseconds at batch 1 on this machine"
    )
    rows = [_row(artifact) for artifact in files.artifacts]
    tables = [Table(head, rows, caption, frozenset({0, 8}))]
    gates = [
        (gate["name"], gate["status"], number(gate["value"], 4), number(gate["limit"], 4))
        for gate in files.promotion.get("gates", ())
    ]
    if gates:
        columns = frozenset({0, 1})
        tables.append(Table(("gate", "status", "value", "limit"), gates, text_columns=columns))
    latencies = {
        f"{item.kind} {item.precision}": item.metrics["latency_p50_ms"]
        for item in files.artifacts
        if "latency_p50_ms" in item.metrics
    }
    chart = figures.ranked_bars(latencies, label="milliseconds an image") if latencies else ""
    return Section(
        "Export and gates",
        charts=[Chart(chart, "Median latency at batch 1, slowest first.")] if chart else (),
        tables=tables,
    )


def lineage_section(files: RunFiles) -> Section | None:
    """Return the hashes that tie the version to its data."""
    entries = {
        "passport": files.version.get("passport_sha256"),
        "MLflow run": files.version.get("run_id"),
        "MLflow store": files.version.get("tracking_uri"),
        "training manifest": files.manifest.get("sha256"),
        "validation manifest": files.evaluations.get("student", {}).get("manifest_sha256"),
        "label space": files.evaluations.get("student", {}).get("label_space_sha256"),
        "student weights": files.trained.get("student", {}).get("model_sha256"),
        **{f"{item.kind} {item.precision}": item.sha256 for item in files.artifacts},
    }
    rows = [(name, str(value)) for name, value in entries.items() if value]
    table = Table(("what", "hash or location"), rows, text_columns=frozenset({0, 1}))
    return Section("Where it came from", tables=[table]) if rows else None


def _row(artifact: Artifact) -> tuple[str, ...]:
    metrics = artifact.metrics
    num_bytes = metrics.get("num_bytes")
    return (
        f"{artifact.kind} {artifact.precision}",
        number(metrics.get("ap")),
        number(metrics.get("ap50")),
        number(metrics.get("ap_drop"), 4),
        number(metrics.get("mean_box_diff_px"), 4),
        number(metrics.get("mean_score_diff"), 5),
        number(metrics.get("latency_p50_ms"), 1),
        number(num_bytes / 1e6, 1) if num_bytes else number(None),
        artifact.note if artifact.attested else f"not attested: {artifact.note}",
    )
