"""`damo-yolo merge`: many datasets, one table."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def merge(
    catalog: Annotated[str, typer.Argument(help="Catalog file: which datasets, and where.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the records.")],
    memory_mb: Annotated[
        int, typer.Option(min=256, help="What joins and sorts may hold at once, MB.")
    ] = 1024,
    ray: Annotated[
        bool, typer.Option("--ray", help="Read the datasets on the Ray cluster of RAY_ADDRESS.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Merge datasets into one table of records in unified class ids."""
    from damo_yolo.stages.merge import merge_datasets

    result = merge_datasets(catalog, out, memory_mb=memory_mb, spread=ray)
    show(
        result,
        f"{result.num_images} images, {result.num_classes_with_boxes} classes with boxes -> {out}",
        as_json=as_json,
    )
