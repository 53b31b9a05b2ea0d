"""`damo-yolo sample`: the embedded datasets."""

from pathlib import Path
from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def sample(
    out: Annotated[Path, typer.Option(help="Folder for the three datasets and their catalog.")],
    seed: Annotated[int, typer.Option(help="Another seed draws other images.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Render three small datasets in COCO, Objects365 and Open Images form."""
    from damo_yolo.stages.sample import render_sample

    result = render_sample(str(out), seed=seed)
    show(
        result,
        f"{result.num_images} images, {len(result.classes)} classes -> {out / result.catalog}",
        as_json=as_json,
    )
