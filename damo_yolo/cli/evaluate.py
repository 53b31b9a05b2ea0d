"""`damo-yolo evaluate`: AP on the validation shards."""

from typing import Annotated

import typer

from damo_yolo.cli.console import AsJson, show


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Model folder, .onnx, OpenVINO .xml, engine or artifact's .json.")
    ],
    shards: Annotated[str, typer.Option(help="Shards that `shard` wrote.")],
    out: Annotated[str, typer.Option(help="Folder or s3:// prefix for metrics and detections.")],
    plan: Annotated[
        str, typer.Option(help="Plan that `balance` wrote: also rank the source datasets.")
    ] = "",
    catalog: Annotated[
        str, typer.Option(help="Catalog: also Open Images AP50 and each dataset's own classes.")
    ] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, e.g. frequency.rare_max=5.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Ray workers; 1: this process.", min=1)] = 1,
    cross_check: Annotated[
        bool, typer.Option("--cross-check", help="Against pycocotools.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure AP of a model or artifact, over all and per dataset, and look at its errors."""
    from damo_yolo.stages.evaluate import EvaluateConfig, evaluate_model

    config = EvaluateConfig(workers=workers, cross_check=cross_check).with_overrides(settings or [])
    result = evaluate_model(
        model_uri=model,
        shards_uri=shards,
        out_uri=out,
        plan_uri=plan,
        catalog_uri=catalog,
        config=config,
    )
    checked = "" if result.cross_check is None else f", pycocotools {result.cross_check:.0e} apart"
    sentence = f"AP {result.ap:.3f}, AP50 {result.ap50:.3f}{checked} -> {out}"
    show(result, sentence, as_json=as_json)
