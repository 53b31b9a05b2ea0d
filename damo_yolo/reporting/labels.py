"""The self-contained HTML page of a label space: its conflicts and counts."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, select_autoescape

from damo_yolo.labels.conflicts import ClassCount, Conflict


def render_labels(
    conflicts: Sequence[Conflict], classes: Sequence[ClassCount], *, num_source: int
) -> str:
    """Return the page: no script, no external address.

    Args:
        conflicts: of the label space.
        classes: what each class would have; shown with the most boxes first.
        num_source: source classes of all datasets.
    """
    environment = Environment(
        loader=PackageLoader("damo_yolo.reporting"),
        autoescape=select_autoescape(["html", "j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("labels.html.j2").render(
        conflicts=conflicts,
        classes=sorted(classes, key=lambda item: -(item.boxes or 0)),
        num_source=num_source,
        num_unified=len(classes),
    )
