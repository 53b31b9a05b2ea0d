"""`damo-yolo check`: what is wrong with the datasets of a catalog."""

from typing import Annotated

import typer

from damo_yolo.cli.console import EXIT_USER_ERROR, AsJson, console, show


def check(
    catalog: Annotated[str, typer.Argument(help="Catalog file: which datasets, and where.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the report.")] = "runs/check",
    as_json: AsJson = False,
) -> None:
    """Check catalogued datasets: files, images, classes, boxes, leaks."""
    from damo_yolo.stages.check import check_catalog

    result = check_catalog(catalog, out)
    if not as_json:
        for kind, findings in (("error", result.errors), ("warning", result.warnings)):
            for finding in findings:
                console.print(f"{kind}: {finding.problem}\n  fix: {finding.fix}", markup=False)
    show(
        result,
        f"{result.num_images} images checked, {len(result.errors)} errors, "
        f"{len(result.warnings)} warnings -> {out}",
        as_json=as_json,
    )
    if result.errors:
        raise typer.Exit(EXIT_USER_ERROR)
