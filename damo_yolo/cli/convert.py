"""`damo-yolo convert`: published checkpoints into our model files, and back."""

from typing import Annotated

import typer

from damo_yolo.cli.console import console
from damo_yolo.errors import ConfigError


def convert(
    source: Annotated[str, typer.Argument(help="Published .pth, or a model.pt of ours.")],
    out: Annotated[str, typer.Argument(help="File to write.")],
    model: Annotated[str, typer.Option(help="Size of a published checkpoint: damo-yolo-s.")] = "",
    to_published: Annotated[bool, typer.Option(help="From ours to the published form.")] = False,
) -> None:
    """Convert a checkpoint; classes and weights stay, keys change form."""
    from damo_yolo.models.model_file import convert_from_published, convert_to_published

    if to_published:
        converted = convert_to_published(source, out)
    elif model:
        converted = convert_from_published(source, out, name=model)
    else:
        raise ConfigError(
            "a published checkpoint does not say its size", fix="give --model damo-yolo-s"
        )
    console.print(f"{converted.name}, {len(converted.class_names)} classes -> {out}", markup=False)
