"""`damo-yolo promote`: a challenger becomes champion, or the champion steps back."""

from typing import Annotated

import typer

from damo_yolo.cli.console import EXIT_USER_ERROR, AsJson, console, show
from damo_yolo.errors import ConfigError


def promote(
    version: Annotated[
        str, typer.Argument(help="Folder that `register` wrote; a model's name with --rollback.")
    ],
    exported: Annotated[str, typer.Option("--export", help="Folder that `export` wrote.")] = "",
    shards: Annotated[str, typer.Option(help="Shards with the validation images.")] = "",
    min_ap50: Annotated[float, typer.Option(help="AP50 below it never becomes champion.")] = 0.3,
    out: Annotated[str, typer.Option(help="Folder for the promotion record.")] = "runs/promotion",
    rollback: Annotated[
        bool, typer.Option(help="Give the title back to the previous one.")
    ] = False,
    tracking_uri: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow store, for --rollback.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Hold a registered version against the gates and promote it, or roll back."""
    from damo_yolo.registry.promote import GateConfig, roll_back
    from damo_yolo.stages.promote import promote_model

    if rollback:
        if not tracking_uri:
            raise ConfigError("a rollback needs the MLflow store", fix="give --tracking-uri")
        result = roll_back(version, tracking_uri=tracking_uri)
        show(result, f"{result.name} version {result.version} is champion again", as_json=as_json)
        return
    if not exported or not shards:
        raise ConfigError("a promotion needs --export and --shards", fix="give both folders")
    config = GateConfig.from_mapping({"min_ap50": min_ap50}, source="--min-ap50")
    result = promote_model(
        version_uri=version, export_uri=exported, shards_uri=shards, out_uri=out, config=config
    )
    if not as_json:
        for gate in result.gates:
            console.print(f"{gate.status:12} {gate.name}", markup=False)
    verdict = "is champion" if result.promoted else "stays challenger: a gate failed"
    show(result, f"{result.name} version {result.version} {verdict}", as_json=as_json)
    if not result.promoted:
        raise typer.Exit(EXIT_USER_ERROR)
