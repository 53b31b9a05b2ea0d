"""`damo-yolo balance`: how often each image is drawn."""

from typing import TYPE_CHECKING, Annotated

import typer

from damo_yolo.cli.console import AsJson, show

if TYPE_CHECKING:
    from damo_yolo.mixing.balance import BalanceConfig

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Override a setting: empty_share=0.05, sampling='{coco: repeat_factor}', ...",
    ),
]


def balance(
    records: Annotated[str, typer.Argument(help="Records that `merge` wrote.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for the sample plan.")],
    size_power: Annotated[float, typer.Option(help="1 keeps dataset sizes, 0 evens them.")] = 0.5,
    overrides: Overrides = None,
    global_batch: Annotated[int, typer.Option(help="Images of one step over all workers.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Smooth dataset sizes and class frequencies into a sample plan."""
    from damo_yolo.stages.balance import balance

    config = balance_config(size_power, overrides)
    result = balance(records, out, config=config, global_batch=global_batch)
    show(result, f"{result.draws_per_epoch} draws an epoch -> {out}", as_json=as_json)


def balance_config(size_power: float, overrides: list[str] | None) -> "BalanceConfig":
    """Return the settings that the options say."""
    from damo_yolo.mixing.balance import BalanceConfig

    config = BalanceConfig.from_mapping({"size_power": size_power}, source="--size-power")
    return config.with_overrides(overrides or [])
