"""`damo-yolo register`: exported artifacts become a model version."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def register(
    name: Annotated[str, typer.Argument(help="Registered model; made when it does not exist.")],
    model: Annotated[str, typer.Option(help="Model folder that `train` wrote.")],
    evaluation: Annotated[str, typer.Option(help="Folder that `evaluate` wrote.")],
    exported: Annotated[str, typer.Option("--export", help="Folder that `export` wrote.")],
    shards: Annotated[str, typer.Option(help="Shards it was trained on.")],
    tracking_uri: Annotated[str, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow store.")],
    out: Annotated[str, typer.Option(help="Folder for the version record.")] = "runs/version",
    as_json: AsJson = False,
) -> None:
    """Register exported artifacts, with their lineage, as the challenger."""
    from damo_yolo.stages.register import register_model

    result = register_model(
        name=name,
        model_uri=model,
        evaluation_uri=evaluation,
        export_uri=exported,
        shards_uri=shards,
        tracking_uri=tracking_uri,
        out_uri=out,
    )
    show(result, f"{name} version {result.version} is {result.alias} -> {out}", as_json=as_json)
