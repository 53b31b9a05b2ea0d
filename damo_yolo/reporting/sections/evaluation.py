"""How good the models are: over all, by source, by class, by size, by frequency."""

from damo_yolo.reporting import figures, photos
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Photo, Section, Table, number

FIGURES = {
    "AP": "ap",
    "AP50": "ap50",
    "AP75": "ap75",
    "small": "ap_small",
    "medium": "ap_medium",
    "large": "ap_large",
    "recall": "recall",
}


def evaluation_section(files: RunFiles) -> Section | None:
    """Return AP in all its parts, and detections on the first validation images."""
    if not files.evaluations:
        return None
    student = files.evaluations.get("student") or next(iter(files.evaluations.values()))
    per_class = student["datasets"][student["headline"]]["per_class"]
    by_source = {
        name: {
            role: metrics["datasets"][name]["ap"]
            for role, metrics in files.evaluations.items()
            if name in metrics["datasets"]
        }
        for name in student["datasets"]
    }
    return Section(
        f"Evaluation on {student['headline']}",
        charts=[
            Chart(
                figures.ranked_bars({i["name"]: i["ap50"] for i in per_class}, label="AP50"),
                "AP50 of each class, student.",
            ),
            Chart(
                figures.grouped_bars(by_source, label="AP"),
                "AP on each dataset's own validation images, over the classes it annotates.",
            ),
        ],
        tables=[_models(files), *_groups(files), *_challenge(files)],
        photos=[
            Photo(address, f"{key}: what the student finds")
            for key, address in photos.first_detections(files)
        ],
    )


def _models(files: RunFiles) -> Table:
    rows = [
        (f"{role} {metrics['model']}", *(number(metrics[name]) for name in FIGURES.values()))
        for role, metrics in files.evaluations.items()
    ]
    caption = "small: objects below 32 x 32 pixels of the image; large: above 96 x 96"
    return Table(("model", *FIGURES), rows, caption)


def _groups(files: RunFiles) -> list[Table]:
    rows = [
        (
            f"{role}, {group}",
            str(found["num_classes"]),
            str(found["num_objects"]),
            number(found["ap"]),
            number(found["ap50"]),
        )
        for role, metrics in files.evaluations.items()
        for group, found in metrics.get("frequency", {}).items()
    ]
    caption = "Classes by the number of training images that hold them"
    head = ("frequency", "classes", "validation objects", "AP", "AP50")
    return [Table(head, rows, caption)] if rows else []


def _challenge(files: RunFiles) -> list[Table]:
    rows = [
        (f"{role} on {name}", str(len(found["per_class"])), number(found["ap50"]))
        for role, metrics in files.evaluations.items()
        for name, found in metrics.get("openimages", {}).items()
    ]
    caption = (
        "As the Open Images challenge counts: boxes also count for the classes above theirs, which "
        "the model was not asked to find"
    )
    return [Table(("model and dataset", "classes", "AP50"), rows, caption)] if rows else []
