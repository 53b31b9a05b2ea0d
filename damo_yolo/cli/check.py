"""`damo-yolo check`: what is wrong with the datasets of a catalog."""

from typing import Annotated

import typer

from damo_yolo.cli.console import EXIT_USER_ERROR, AsJson, console, show

EXIT_WARNINGS = 1


def check(
    catalog: Annotated[str, typer.Argument(help="Catalog file: which datasets, and where.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the report.")] = "runs/check",
    similar: Annotated[
        bool, typer.Option(help="Find pictures that look alike, too; decodes every image.")
    ] = True,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every pixel.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Write check.html, too.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when there are warnings.")
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Read the datasets on the Ray cluster of RAY_ADDRESS.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check catalogued datasets: files, images, classes, boxes, leaks, duplicates.

    Exits with 0 when they can be used, 2 when they cannot.
    """
    from damo_yolo.stages.check import check_catalog

    result = check_catalog(catalog, out, decode=decode, similar=similar, page=html, spread=ray)
    if not as_json:
        for kind, findings in (("error", result.errors), ("warning", result.warnings)):
            for finding in findings:
                console.print(f"{kind}: {finding.problem}\n  fix: {finding.fix}", markup=False)
    show(
        result,
        f"{result.num_images} images checked, {len(result.errors)} errors, "
        f"{len(result.warnings)} warnings -> {result.page_uri or out}",
        as_json=as_json,
    )
    if result.errors:
        raise typer.Exit(EXIT_USER_ERROR)
    if result.warnings and strict:
        raise typer.Exit(EXIT_WARNINGS)
