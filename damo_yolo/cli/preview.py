"""`damo-yolo preview`: what a balance setting would do, before anyone trains."""

from typing import TYPE_CHECKING, Annotated

import typer

from damo_yolo.cli.balance import Overrides
from damo_yolo.cli.console import AsJson, console, show

if TYPE_CHECKING:
    from rich.table import Table

    from damo_yolo.stages.preview import PreviewResult

CLASSES_SHOWN = 10
"""Of the rarest and of the most frequent ones; a third more are shown all together."""


def preview(
    records: Annotated[str, typer.Argument(help="Records that `merge` wrote.")],
    size_power: Annotated[float, typer.Option(help="1 keeps dataset sizes, 0 evens them.")] = 0.5,
    wish: Annotated[
        str, typer.Option(metavar="DATASET=SHARE", help="Solve for the power: coco=0.3.")
    ] = "",
    overrides: Overrides = None,
    global_batch: Annotated[int, typer.Option(help="Images of one step over all workers.")] = 8,
    plot: Annotated[str, typer.Option(help="PNG or SVG to write.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show class and source exposure before and after balancing; writes nothing but the plot."""
    from damo_yolo.cli.balance import balance_config
    from damo_yolo.mixing.power import Wish
    from damo_yolo.stages.preview import preview

    result = preview(
        records,
        config=balance_config(size_power, overrides),
        global_batch=global_batch,
        wish=Wish.parse(wish) if wish else None,
        plot_uri=plot,
    )
    if not as_json:
        _print_tables(result)
    show(result, _summary(result), as_json=as_json)


def _summary(result: "PreviewResult") -> str:
    exposure = result.exposure
    largest = max(item.largest_draws for item in exposure.datasets.values())
    seen = f"an epoch sees {exposure.unique_coverage:.1%} of the images"
    lines = [
        f"{exposure.num_images} images, {exposure.draws_per_epoch} draws an epoch",
        f"{seen}, the most drawn one {largest:.4g} times",
    ]
    if exposure.never_drawn:
        lines.append(f"{exposure.never_drawn} images are never drawn")
    if result.wish:
        (name, share), *_ = result.wish.items()
        power = exposure.config.size_power
        lines.append(f"{share:.2%} of the draws go to {name} with: --size-power {power:.6g}")
    if result.plot_uri:
        lines.append(f"plot -> {result.plot_uri}")
    return "\n".join(lines)


def _print_tables(result: "PreviewResult") -> None:
    from rich.table import Table

    exposure = result.exposure
    datasets = Table("dataset", "images", "sampling", "before", "after", "largest repeat", box=None)
    for name, item in exposure.datasets.items():
        shares = f"{item.share_before:.1%}", f"{item.share_after:.1%}"
        datasets.add_row(
            name, str(item.images), item.sampling, *shares, f"{item.largest_draws:.3g}"
        )
    powers = Table("size power", *exposure.datasets, "unique coverage", "largest repeat", box=None)
    for power in exposure.powers:
        cells = [f"{power.shares[name]:.1%}" for name in exposure.datasets]
        coverage, largest = f"{power.unique_coverage:.1%}", f"{power.largest_draws:.3g}"
        powers.add_row(f"{power.size_power:.3g}", *cells, coverage, largest)
    for table in (datasets, powers, _class_table(result)):
        console.print(table)
        console.print()


def _class_table(result: "PreviewResult") -> "Table":
    """Return the rarest and the most frequent classes; all of them where they are few."""
    from rich.table import Table

    table = Table("class", "samples an epoch before", "after", "times", box=None)
    ordered = sorted(result.exposure.classes, key=lambda item: item.before)
    hidden = len(ordered) - 2 * CLASSES_SHOWN
    for place, item in enumerate(ordered):
        if hidden > CLASSES_SHOWN and CLASSES_SHOWN <= place < len(ordered) - CLASSES_SHOWN:
            if place == CLASSES_SHOWN:
                table.add_row(f"... {hidden} more", "", "", "")
            continue
        name = result.class_names[item.class_id]
        times = f"{item.after / item.before:.2f}"
        table.add_row(name, f"{item.before:.1f}", f"{item.after:.1f}", times)
    return table
