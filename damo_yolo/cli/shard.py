"""`damo-yolo shard`: each image once, in standard tars."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def shard(
    records: Annotated[str, typer.Argument(help="Records that `merge` wrote.")],
    plan: Annotated[str, typer.Option(help="Sample plan that `balance` wrote.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the shards.")],
    as_json: AsJson = False,
) -> None:
    """Write images and annotations as webdataset shards with a manifest."""
    from damo_yolo.stages.shard import shard

    result = shard(records, plan, out)
    show(
        result,
        f"{result.num_images} images in {result.num_shards} shards -> {out}",
        as_json=as_json,
    )
