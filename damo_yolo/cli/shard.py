"""`damo-yolo shard`: each image once, in standard tars."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def shard(
    records: Annotated[str, typer.Argument(help="Records that `merge` wrote.")],
    plan: Annotated[str, typer.Option(help="Sample plan that `balance` wrote.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the shards.")],
    max_left_out: Annotated[
        int, typer.Option(help="Leave out and list up to this many unreadable images.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Write images and annotations as webdataset shards with a manifest."""
    from damo_yolo.shards.write import ShardConfig
    from damo_yolo.stages.shard import shard

    config = ShardConfig.from_mapping({"max_left_out": max_left_out}, source="--max-left-out")
    result = shard(records, plan, out, config=config)
    show(
        result,
        f"{result.num_images} images in {result.num_shards} shards -> {out}",
        as_json=as_json,
    )
