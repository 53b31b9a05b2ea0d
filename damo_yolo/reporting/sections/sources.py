"""Which source dataset helped or hurt which class."""

from damo_yolo.reporting.gather import RunFiles
from damo_yolo.reporting.page import Section, Table, number, percent

SHOWN = 8


def source_section(files: RunFiles) -> Section | None:
    """Return the ranking of sources and the classes they hurt most."""
    ranking = files.ranking
    if ranking is None:
        return None
    sources = [
        (
            item.name,
            number(item.score),
            number(item.own_agreement),
            number(item.taught),
            f"{item.offset_x:+.2f}, {item.offset_y:+.2f}",
            percent(item.draws_share),
            number(item.val_ap),
        )
        for item in ranking.sources
    ]
    effects = [
        (
            files.name_of(item.class_id),
            item.source,
            percent(item.draws_share),
            number(item.agreement),
            number(item.on_headline),
            f"{item.effect:+.3f}",
        )
        for item in (*ranking.classes[:SHOWN], *ranking.classes[SHOWN:][-SHOWN:])
    ]
    return Section(
        "Sources",
        lead=(
            "Agreement is the IoU of an annotated object with the student's best box of its class. "
            "Own: with the source's training annotations. Taught: with the trusted images of "
            f"'{ranking.headline}', for the classes the source taught. A low score means hard "
            "images or bad annotations; boxes that all lie off to one side show in the offset."
        ),
        tables=[
            Table(
                ("source, worst first", "score", "own", "taught", "offset x, y", "draws", "val AP"),
                sources,
            ),
            Table(
                ("class", "source", "of its draws", "own", "trusted", "effect"),
                effects,
                "Where a source hurt (below 0) and where it helped most",
                frozenset({0, 1}),
            ),
        ],
    )
