"""What the student does wrong."""

from damo_yolo.reporting import figures, photos
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Photo, Section, Table, number, percent


def error_section(files: RunFiles) -> Section | None:
    """Return error types, confusions, calibration, curves and the worst images."""
    errors = files.errors
    if errors is None:
        return None
    types = [(item.name, str(item.count), number(item.ap50_cost)) for item in errors.types]
    confusions = [
        (
            files.name_of(item.class_id),
            files.name_of(item.found_as),
            str(item.count),
            percent(item.share),
        )
        for item in errors.confusions[:10]
    ]
    costliest = errors.types[0].name if errors.types else "none"
    points = [(item.mean_score, item.precision, item.count) for item in errors.calibration]
    return Section(
        "Errors",
        lead=(
            f"The costliest error is: {costliest}. Scores and precision are "
            f"{errors.expected_calibration_error:.2f} apart on average."
        ),
        charts=[
            Chart(
                figures.reliability(points),
                "Of detections with a score, the share that is right: above the line the model is "
                "too modest, below too sure.",
            ),
            Chart(
                figures.precision_curves(
                    {f"IoU {curve.iou:.2f}": curve.precision for curve in errors.curves}
                ),
                "Precision over recall, mean over classes.",
            ),
        ],
        tables=[
            Table(("error", "detections or objects", "AP50 it costs"), types),
            Table(
                ("objects of", "found as", "count", "of its objects"),
                confusions,
                f"Confusions, at score {errors.shown_score} or more",
                frozenset({0, 1}),
            ),
        ],
        photos=[Photo(address, caption) for caption, address in photos.worst_images(files)],
    )
