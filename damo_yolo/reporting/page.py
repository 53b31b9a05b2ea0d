"""The self-contained HTML page of a run."""

from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from damo_yolo.reporting.summary import ModelRow, Summary


@dataclass(frozen=True, slots=True)
class Pictures:
    """Charts as SVG text, photographs as `data:` addresses; empty where there is none."""

    balance: str = ""
    class_exposure: str = ""
    training_samples: str = ""
    losses: str = ""
    ap_by_source: str = ""
    ap_by_class: str = ""
    detections: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Details:
    """Figures that only the page shows."""

    lineage: dict[str, str]
    """What it is to its hash or location."""
    settings: dict[str, str]


def render_page(summary: Summary, pictures: Pictures, details: Details) -> str:
    """Return the page: no script, no external address, light and dark, readable on a phone."""
    environment = Environment(
        loader=PackageLoader("damo_yolo.reporting"),
        autoescape=select_autoescape(["html", "j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("report.html.j2").render(
        summary=summary,
        verdict=verdict_of(summary),
        pictures=pictures,
        svg=Markup,
        details=details,
        sources=sorted({name for row in summary.models for name in row.ap_by_source}),
    )


def verdict_of(summary: Summary) -> list[str]:
    """Return the answers a reader wants first, one sentence each."""
    rows = {row.name.split()[0]: row for row in summary.models}
    sentences = []
    student, twin = rows.get("student"), rows.get("twin")
    if student is not None and student.ap50 is not None:
        sentences.append(f"The student reaches AP50 {student.ap50:.3f} on '{summary.headline}'.")
    if student is not None and twin is not None:
        sentences.append(_compare(student, twin))
    failed = [gate.name for gate in summary.gates if gate.status == "failed"]
    open_gates = [gate.name for gate in summary.gates if gate.status == "not attested"]
    name = f"{summary.registered_model} version {summary.version}"
    if failed:
        sentences.append(f"{name} stays {summary.alias}: failed {', '.join(failed)}.")
    else:
        sentences.append(f"{name} is {summary.alias}: every gate that was measured passed.")
    if open_gates:
        sentences.append(f"Not attested here: {', '.join(open_gates)}.")
    return sentences


def _compare(student: ModelRow, twin: ModelRow) -> str:
    if student.ap is None or twin.ap is None:
        return "The student or its twin was not measured."
    gap = student.ap - twin.ap
    word = "above" if gap > 0 else "below"
    return (
        f"Distilled, it lies {abs(gap):.3f} AP {word} its undistilled twin ({twin.ap:.3f}); "
        "one run each, so a gap of a few hundredths is noise."
    )


def _figure(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"  # noqa: RUF001 - a dash for "none"
