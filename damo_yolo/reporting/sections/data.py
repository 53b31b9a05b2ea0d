"""What was trained on, and how balancing changed it."""

from damo_yolo.reporting import figures, photos
from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Chart, Photo, Section, Table, percent
from damo_yolo.reporting.summarise import summarise

MASKED = (
    "Training samples as the network sees them, with the boxes it is trained on. Objects without a "
    "box are of classes that the image's dataset does not annotate; they are masked."
)


def data_section(files: RunFiles) -> Section | None:
    """Return datasets, balance and training samples."""
    if not files.plan:
        return None
    summary = summarise(files, report_uri="")
    rows = [
        (
            row.name,
            str(row.train_images),
            str(row.train_boxes),
            str(row.num_classes),
            percent(row.share_before),
            percent(row.share_after),
        )
        for row in summary.datasets
    ]
    head = ("dataset", "images", "boxes", "classes", "share before", "share after")
    tables = [Table(head, rows), *_mended(files)]
    picture = photos.training_samples(files)
    return Section(
        "Data and balance",
        lead=(
            f"{summary.num_classes} classes have training objects, in a space of "
            f"{summary.space_size}."
        ),
        charts=_charts(files),
        tables=tables,
        photos=[Photo(picture, MASKED)] if picture else (),
    )


def _charts(files: RunFiles) -> list[Chart]:
    shares = {
        name: (share["share_before"], share["share_after"])
        for name, share in files.plan["datasets"].items()
    }
    exposure = {
        files.name_of(item["class_id"]): (item["before"], item["after"])
        for item in files.plan["classes"]
    }
    return [
        Chart(
            figures.before_after(shares),
            "Share of each dataset: of the images, and of the draws of an epoch.",
        ),
        Chart(
            figures.class_exposure(exposure),
            "Samples of an epoch with each class, before and after balancing.",
        ),
    ]


def _mended(files: RunFiles) -> list[Table]:
    """Return what the merge stage put right."""
    rows = [
        (name, split, what, str(count))
        for name, splits in files.records.get("datasets", {}).items()
        for split, facts in splits.items()
        for what, count in (facts or {}).get("mended", {}).items()
        if count
    ]
    head = ("dataset", "split", "put right or left out", "count")
    return [Table(head, rows, text_columns=frozenset({0, 1, 2}))] if rows else []
