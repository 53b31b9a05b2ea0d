"""The final table on the terminal."""

from rich.console import Console
from rich.table import Table

from damo_yolo import storage
from damo_yolo.reporting.summary import Summary, TwinRow


def print_summary(summary_uri: str, console: Console) -> None:
    """Print datasets, models, gates and the registered version of a run.

    Args:
        summary_uri: location of the `summary.json` that the report stage wrote.
        console: where to print.
    """
    summary = Summary.from_yaml(storage.read_text(summary_uri), source=summary_uri)
    console.print()
    console.print(_datasets(summary))
    console.print(_models(summary))
    if any(row.ap_by_source for row in summary.models):
        console.print(_sources(summary))
    if summary.twin is not None:
        console.print(_twin(summary.twin))
    if summary.gates:
        console.print(_gates(summary))
    if summary.version is not None:
        console.print(
            f"registered [bold]{summary.registered_model} v{summary.version}[/]"
            f" as [bold]{summary.alias}[/]   ({summary.tracking_uri})"
        )
    console.print(f"report     {summary.report_uri}", soft_wrap=True)


def _datasets(summary: Summary) -> Table:
    table = Table(
        title=f"{summary.num_classes} classes in the {summary.space_size}-class space",
        title_justify="left",
    )
    table.add_column("dataset")
    for name in ("images", "boxes", "classes", "share before", "share after"):
        table.add_column(name, justify="right")
    for row in summary.datasets:
        table.add_row(
            row.name,
            f"{row.train_images}",
            f"{row.train_boxes}",
            f"{row.num_classes}",
            f"{row.share_before:.1%}",
            f"{row.share_after:.1%}",
        )
    return table


def _models(summary: Summary) -> Table:
    table = Table(title=f"AP on '{summary.headline}'", title_justify="left")
    table.add_column("model", no_wrap=True)
    for name in ("AP", "AP50", "ms", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for row in summary.models:
        table.add_row(
            row.name,
            _figure(row.ap, 3),
            _figure(row.ap50, 3),
            _figure(row.latency_ms, 1),
            _figure(row.size_mb, 1),
            row.note,
        )
    return table


def _sources(summary: Summary) -> Table:
    rows = [row for row in summary.models if row.ap_by_source]
    table = Table(title="AP per source, over the classes it annotates", title_justify="left")
    table.add_column("model", no_wrap=True)
    names = sorted({name for row in rows for name in row.ap_by_source})
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.name, *(_figure(row.ap_by_source.get(name), 3) for name in names))
    return table


def _twin(twin: TwinRow) -> str:
    return (
        f"student against its undistilled twin: AP {twin.difference:+.3f} ({twin.confidence:.0%} "
        f"interval {twin.low:+.3f} to {twin.high:+.3f}): [bold]{twin.verdict}[/]"
    )


def _gates(summary: Summary) -> Table:
    table = Table(title="gates", title_justify="left")
    for name in ("gate", "status"):
        table.add_column(name)
    for name in ("value", "limit"):
        table.add_column(name, justify="right")
    colours = {"passed": "green", "failed": "red"}
    for row in summary.gates:
        colour = colours.get(row.status, "yellow")
        table.add_row(
            row.name, f"[{colour}]{row.status}[/]", _figure(row.value, 4), _figure(row.limit, 4)
        )
    return table


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
