"""`damo-yolo evaluate`: AP on the validation shards."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, .onnx file or OpenVINO .xml.")],
    shards: Annotated[str, typer.Option(help="Shards that `shard` wrote.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for metrics and detections.")],
    as_json: AsJson = False,
) -> None:
    """Measure AP of a model or artifact, over all and per source dataset."""
    from damo_yolo.stages.evaluate import evaluate_model

    result = evaluate_model(model_uri=model, shards_uri=shards, out_uri=out)
    show(result, f"AP {result.ap:.3f}, AP50 {result.ap50:.3f} -> {out}", as_json=as_json)
