"""`damo-yolo models`: the named sizes."""

import json
from typing import Annotated

import typer
from rich.table import Table

from damo_yolo.cli.console import console


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """List the detector sizes: parameters, GFLOPs and published AP."""
    from damo_yolo.models.zoo import model_table

    rows = model_table()
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    table = Table()
    table.add_column("model")
    for name in ("input", "params M", "GFLOPs", "published AP"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.input_size}",
            f"{row.params_m:.3f}",
            f"{row.gflops:.3f}",
            f"{row.published_ap:.1f}",
        )
    console.print(table)
