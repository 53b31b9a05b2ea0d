"""How the models were trained, and what distillation was worth."""

from damo_yolo.evaluation.bootstrap import Difference
from damo_yolo.reporting import figures
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Section, Table, number

LOSSES = ("qfl", "giou", "dfl")


def training_section(files: RunFiles) -> Section | None:
    """Return loss curves and times of every training."""
    if not files.trained:
        return None
    rows = [
        (
            role,
            result["model"],
            str(result["steps"]),
            f"{result['seconds'] / 60:.1f}",
            f"{result['images_per_s']:.1f}",
            number(sum(result["losses"][name] for name in LOSSES)),
        )
        for role, result in files.trained.items()
    ]
    head = ("role", "model", "steps", "minutes", "images/s", "detection loss at the end")
    losses = {
        role: [
            (line["step"], sum(line[name] for name in LOSSES))
            for line in lines
            if line["kind"] == "step"
        ]
        for role, lines in files.progress.items()
    }
    caption = (
        "Detection loss of each training: classes, boxes and their sides; the student's "
        "distillation loss is not part of it."
    )
    return Section(
        "Training",
        charts=[Chart(figures.curves(losses, label="detection loss"), caption)],
        tables=[Table(head, rows, text_columns=frozenset({0, 1}))],
    )


def distillation_section(files: RunFiles) -> Section | None:
    """Return the student against its twin."""
    found = files.against_twin
    if found is None:
        return None
    rows = [
        (
            name,
            number(item.a),
            number(item.b),
            f"{item.difference:+.3f}",
            _interval(item),
            item.verdict,
        )
        for name, item in (("AP", found.ap), ("AP50", found.ap50))
    ]
    head = ("figure", "student", "twin", "difference", "95 % interval", "verdict")
    by_gap = sorted(found.per_class, key=lambda item: -item.difference)
    shown = by_gap if len(by_gap) <= figures.MAX_BARS // 2 else [*by_gap[:10], *by_gap[-10:]]
    gaps = {files.name_of(i.class_id): (i.difference, i.low, i.high) for i in shown}
    distill = [
        (line["step"], line["distill"])
        for line in files.progress.get("student", ())
        if line["kind"] == "step" and line.get("distill")
    ]
    return Section(
        "Distillation",
        lead=(
            "The twin is the same model, trained alike without a teacher. The interval comes from "
            f"drawing the {found.num_images} images again {found.num_draws} times, both models on "
            "the same draws; of other trainings it says nothing."
        ),
        charts=[
            Chart(
                figures.intervals(gaps, label="AP of the student less AP of its twin"),
                "By class: green above 0, red below, grey where the interval holds 0.",
            ),
            *(
                [Chart(figures.curves({"student": distill}, label="distillation loss"), "")]
                if distill
                else []
            ),
        ],
        tables=[Table(head, rows, text_columns=frozenset({0, 5}))],
    )


def _interval(item: Difference) -> str:
    return f"{item.low:+.3f} to {item.high:+.3f}"
