"""`damo-yolo labels`: a label space for other datasets."""

from typing import TYPE_CHECKING, Annotated

import typer

from damo_yolo.cli.console import AsJson, console, show

if TYPE_CHECKING:
    from damo_yolo.stages.labels import LabelReport

labels = typer.Typer(
    name="labels",
    help="Make one label space out of the classes of several datasets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Sources = Annotated[
    list[str],
    typer.Argument(help="Catalogs, or name=classes.csv; name=coco for a builtin class list."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
SHOWN = 12


@labels.command("propose")
def propose(
    sources: Sources,
    out: Annotated[str, typer.Option(help="Folder for the review.")],
    onto: Annotated[str, typer.Option(help="Label space to extend, as unified_701.")] = "",
    min_confidence: Annotated[float, typer.Option(help="Join names that agree this well.")] = 0.75,
    apart: Annotated[
        bool, typer.Option("--apart", help="Join nothing: a space to learn in.")
    ] = False,
    count: Annotated[bool, typer.Option(help="Count boxes in a catalog's training data.")] = True,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Propose which classes are one, as csv files to review."""
    from damo_yolo.stages.labels import APART, propose_labels

    result = propose_labels(
        sources,
        out,
        onto=onto,
        min_confidence=APART if apart else min_confidence,
        count=count,
        overwrite=overwrite,
    )
    classes = ", ".join(f"{count} of {name}" for name, count in result.datasets.items())
    show(
        result,
        f"{classes} -> {result.num_unified} classes; {result.num_joined} are joined,"
        f" {result.num_open} pairs are doubtful -> {out}/classes.csv",
        as_json=as_json,
    )


@labels.command("report")
def report(
    sources: Annotated[
        list[str], typer.Argument(help="Folder of a review; or catalogs, or name=mapping.csv.")
    ],
    records: Annotated[str, typer.Option(help="Merged records to count boxes in.")] = "",
    label_space: Annotated[str, typer.Option(help="Of name=mapping.csv.")] = "unified_701",
    html: Annotated[str, typer.Option(help="Write the whole report as one HTML file.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show where names and classes disagree, and what each class would have."""
    from damo_yolo.stages.labels import report_labels, write_html

    result = report_labels(sources, records_uri=records, label_space=label_space)
    if html:
        write_html(result, html)
    if not as_json:
        _print_report(result)
    show(
        result,
        f"{result.num_source} source classes, {result.num_unified} unified,"
        f" {len(result.conflicts)} remarks" + (f" -> {html}" if html else ""),
        as_json=as_json,
    )


@labels.command("apply")
def apply(
    review: Annotated[str, typer.Argument(help="Folder of a review.")],
    out: Annotated[str, typer.Option(help="Folder for the label space and the mappings.")],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Turn a review into a label space and mapping tables."""
    from damo_yolo.stages.labels import apply_labels

    result = apply_labels(review, out, overwrite=overwrite)
    lines = [f"label_space: {result.label_space}"]
    lines += [f"{name}: mapping: {uri}" for name, uri in result.mappings.items()]
    show(
        result,
        f"{result.num_unified} classes, {result.num_ignored} source classes dropped; in the"
        " catalog:\n  " + "\n  ".join(lines),
        as_json=as_json,
    )


@labels.command("learn")
def learn(
    review: Annotated[str, typer.Argument(help="Review that was proposed with --apart.")],
    records: Annotated[str, typer.Option(help="Records merged with what it was applied to.")],
    detections: Annotated[str, typer.Option(help="detections.json of that model's evaluation.")],
    out: Annotated[str, typer.Option(help="Folder for the learned review.")],
    reward: Annotated[float, typer.Option(help="What one class less is worth, in AP50.")] = 0.5,
    max_drop: Annotated[float, typer.Option(help="AP50 a class may lose at most.")] = 0.2,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Learn from a model's detections which classes are one (UniDet)."""
    from damo_yolo.labels.learned import LearnConfig
    from damo_yolo.stages.learn_labels import learn_labels

    result = learn_labels(
        review_uri=review,
        records_uri=records,
        detections_uri=detections,
        out_uri=out,
        config=LearnConfig.from_mapping({"reward": reward, "max_drop": max_drop}),
        overwrite=overwrite,
    )
    show(
        result,
        f"{result.num_source} classes -> {result.num_unified}; {result.num_picked} of"
        f" {result.num_candidates} candidate groups picked -> {out}/classes.csv",
        as_json=as_json,
    )


def _print_report(result: "LabelReport") -> None:
    from rich.table import Table

    kinds: dict[str, list[str]] = {}
    for conflict in result.conflicts:
        kinds.setdefault(conflict.kind, []).append(conflict.detail)
    for kind, details in kinds.items():
        console.print(f"{kind}: {len(details)}", style="bold", markup=False)
        for detail in details[:SHOWN]:
            console.print(f"  {detail}", markup=False)
        if len(details) > SHOWN:
            console.print(f"  ... and {len(details) - SHOWN} more (--json or --html shows all)")
    table = Table("class", "datasets", "boxes", "images", title="what each class would have")
    ranked = sorted(result.classes, key=lambda item: -(item.boxes or 0))
    for item in ranked[:SHOWN]:
        table.add_row(
            item.name, "+".join(item.boxes_by_dataset), _count(item.boxes), _count(item.images)
        )
    console.print(table)
    if len(ranked) > SHOWN:
        console.print(f"  ... and {len(ranked) - SHOWN} more (--json or --html shows all)")


def _count(count: int | None) -> str:
    return "?" if count is None else str(count)
