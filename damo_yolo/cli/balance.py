"""`damo-yolo balance`: how often each image is drawn."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def balance(
    records: Annotated[str, typer.Argument(help="Records that `merge` wrote.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the sample plan.")],
    size_power: Annotated[float, typer.Option(help="1 keeps dataset sizes, 0 evens them.")] = 0.5,
    global_batch: Annotated[int, typer.Option(help="Images of one step over all workers.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Smooth dataset sizes and class frequencies into a sample plan."""
    from damo_yolo.mixing.balance import BalanceConfig
    from damo_yolo.stages.balance import balance

    config = BalanceConfig.from_mapping({"size_power": size_power}, source="--size-power")
    result = balance(records, out, config=config, global_batch=global_batch)
    show(result, f"{result.draws_per_epoch} draws an epoch -> {out}", as_json=as_json)
